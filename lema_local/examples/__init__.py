"""What a student trains on: rationales and corrections as prompt and output, and the arms that are made of them.

Pure and seeded: the same records give the same training sets on any machine. stages/build.py calls it, and whatever
exports an arm for another trainer.
"""
