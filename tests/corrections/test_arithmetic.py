"""Sums in prose: those that words make true are not called false, and no word makes a false one true."""

import time

import pytest

from lema_local.corrections.arithmetic import claims
from lema_local.corrections.checks import sums_are_true


def verdict(text: str) -> bool | None:
    return sums_are_true([(1, text)])


@pytest.mark.parametrize(
    "text",
    [
        "Tom ran 2 hours + 30 minutes = 150 minutes.",
        "Tom ran 2 hours + 30 minutes = 2.5 hours.",
        "1 hour - 20 minutes = 40 minutes.",
        "1 hour + 20 = 80 minutes.",
        "1/2 hour + 15 minutes = 45 minutes.",
        "$1 - 25 cents = 75 cents.",
        "50 cents * 4 = 2 dollars.",
        "3 quarters + 2 dimes = 95 cents.",
        "2 feet + 6 inches = 30 inches.",
        "4 yards * 3 = 36 feet.",
        "16 oz * 2 = 2 pounds.",
        "3 gallons * 2 = 24 quarts.",
        "500 grams * 4 = 2 kilograms.",
        "10 oz/bag * 8 bags = 5 pounds.",
    ],
)
def test_a_sum_over_two_units_is_true_in_one_of_them(text: str) -> None:
    assert verdict(text) is True


@pytest.mark.parametrize(
    "text",
    [
        "It doubles to 1.5 million * 2 = 3,000,000.",
        "She buys 2 dozen * 3 = 72 eggs.",
        "6 / 10 = 60 percent.",
        "1 / 3 = 33.33 percent.",
        "20 percent * 50 = 10 dollars.",
        "Half of 10 + 4 = 9.",
        "Twice 3 + 4 = 10.",
        "Twice 3 + 4 = 14.",
        "A third of 30 + 2 = 12.",
        "Two thirds of 30 + 2 = 22.",
        "The cost is 3 (4 + 5) = 27 dollars.",
        "The cost is 3 * 4 + 3 * 5 = 3 (4 + 5) = 27 dollars.",
        "(3 + 4) (5 + 6) = 77.",
    ],
)
def test_magnitudes_multiples_and_spaced_products_are_read(text: str) -> None:
    assert verdict(text) is True


@pytest.mark.parametrize(
    "text",
    [
        "45 + 45 = 1 hour 30 minutes.",
        "45 + 45 = 1 hour and 30 minutes.",
        "2 hours 30 minutes + 15 minutes = 165 minutes.",
        "The hypotenuse is sqrt(9 + 16) = 5.",
        "The square root of 9 + 16 = 5.",
        "5 squared + 2 = 27.",
        "5 to the power of 2 + 2 = 27.",
        "2 + 7 = 3 squared.",
        "100 + 5% - 5 = 100.",
        "They run 12 (from 3 miles) + 1 (from 1/4 mile) = 13 laps.",
    ],
)
def test_a_sum_with_a_part_that_is_not_read_is_left_out(text: str) -> None:
    assert verdict(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "16 - 7 = 12 apples",
        "42 + 9 = 50 dollars",
        "Tom ran 2 hours + 30 minutes = 140 minutes.",
        "That is 3 hours * 60 minutes = 190 minutes.",
        "That is 3 feet * 12 inches/foot = 432 inches.",
        "They drive 3 hours * 60 miles/hour = 200 miles.",
        "40 minutes / 23 minutes = 5.75 hours.",
        "There are 3 dozen * 12 = 35 eggs.",
        "He has 16 + 32 = 24 pairs of shoes.",
        "The score is 3 + 4 = 8 points.",
        "1 / 3 = 34 percent.",
        "Twice 3 + 4 = 11.",
        "Half of 10 + 4 = 8.",
        "The other half have 14 * 5 = 35 books.",
        "The cost is 3 (4 + 5) = 28 dollars.",
        "The root of it is 3 + 4 = 8.",
        "5 squared is 25 and 25 + 2 = 28.",
        "She gives $150 + $10 = $170 to the shelter.",
        "At most 9 + 16 = 24 come.",
    ],
)
def test_words_around_a_false_sum_do_not_excuse_it(text: str) -> None:
    assert verdict(text) is False


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ("The discount is 25% of $80 = $2000.", False),
        ("He saves 15% * 40 = 600 dollars.", False),
        ("She pays 50 + 10% = 60 dollars.", False),
        ("The price is 200 - 5% = 195.", False),
        ("She pays 50 + 10% = 55 dollars.", True),
        ("The price is 200 - 5% = 190.", True),
        ("He saves 15% * 40 = 6 dollars.", True),
        ("What is left is 1 - 25% = 0.75.", True),
        ("What is left is 100% - 25% = 75.", True),
        ("What is left is 100 - 25% = 75%.", True),
        ("What is left is 100 - 25% = 75 percent.", True),
        ("It is 12/48 * 100% = 25 of a hundred.", True),
        ("It is 3 * 5% = 15%.", True),
    ],
)
def test_a_percentage_is_a_bare_number_only_among_percentages(text: str, true: bool) -> None:
    assert verdict(text) is true


@pytest.mark.parametrize("half", ["half", "Half"])
def test_half_of_a_number_is_a_sum_at_the_beginning_too(half: str) -> None:
    assert (verdict(f"{half} of 12 = 6 are left."), verdict(f"{half} of 12 = 7 are left.")) == (True, False)


def test_the_value_of_a_false_percent_sum_is_what_it_should_say() -> None:
    assert [claim.value for claim in claims("She pays 50 + 10% = 60 and 200 - 5% = 195.")] == [55, 190]


@pytest.mark.parametrize(
    "text",
    [
        "1 hour + 1 minute * " * 200 + "1 second = 5",
        "1 hour + 1 minute = 5 days, " * 100,
        "two thirds of the 3 (4 + 5) = 6 " * 100,
        "a third half of the " * 200 + "3 + 4 = 8",
        "2 (" * 400 + "3" + ")" * 400 + " + 1 = 5",
        "50 + 10% " * 300 + "= 7",
    ],
    ids=["terms", "units", "brackets", "multiples", "nested", "percent"],
)
def test_other_readings_of_hostile_sums_cost_no_time(text: str) -> None:
    started = time.process_time()
    verdict(text)
    assert time.process_time() - started < 0.5
