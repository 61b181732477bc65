# How llama-cpp-python is compiled here: with llama.cpp's own server, from the sources that its sdist carries, into the
# folder of its library. The Makefile gives this file to that build: CMAKE_ARGS=-DCMAKE_PROJECT_INCLUDE=servers/
# llama_server.cmake. Several sources are compiled as one (unity build): server and library take the time that the
# library took alone. With LEMA_SERVER=OFF it is the library alone.

if(NOT PROJECT_NAME STREQUAL "llama_cpp")
    return()
endif()

option(LEMA_SERVER "llama.cpp's server too" ON)
set(LLAVA_BUILD OFF)            # the server's folder of tools has the same library
if(LEMA_SERVER)
    set(CMAKE_UNITY_BUILD ON)
    set(LLAMA_BUILD_TOOLS ON)
    set(LLAMA_BUILD_SERVER ON)
    set(LLAMA_OPENSSL OFF)      # it listens on loopback
    set(LLAMA_SUBPROCESS OFF)   # no tools that start programs, no router
    set(LLAMA_BUILD_UI OFF)     # no web page, and none fetched
    set(LLAMA_USE_PREBUILT_UI OFF)
endif()

# The kernels: which are compiled, and so which clash in a unity build, depends on the processor. Those for AMX die of an
# illegal instruction where GCC 12 compiled them: it drops the shapes of the tiles, because its _tile_loadconfig says
# that it reads 8 bytes of them (github.com/ggml-org/llama.cpp/pull/26954).
function(lema_compile_kernels)
    include(CheckCXXCompilerFlag)
    check_cxx_compiler_flag(-mno-amx-tile LEMA_KNOWS_AMX)
    get_property(targets DIRECTORY "${CMAKE_SOURCE_DIR}/vendor/llama.cpp/ggml/src" PROPERTY BUILDSYSTEM_TARGETS)
    list(FILTER targets INCLUDE REGEX "^ggml-cpu")
    foreach(target IN LISTS targets)
        set_target_properties(${target} PROPERTIES UNITY_BUILD OFF)
        if(LEMA_KNOWS_AMX)
            target_compile_options(${target} PRIVATE -mno-amx-tile -mno-amx-int8 -mno-amx-bf16)
        endif()
    endforeach()
endfunction()

function(lema_build_llama_server)
    set(vendored "${CMAKE_SOURCE_DIR}/vendor/llama.cpp")
    if(NOT TARGET llama-server OR NOT TARGET llama-common OR NOT TARGET mtmd)
        message(WARNING "This llama-cpp-python carries no llama-server that lema can build.")
        return()
    endif()
    # These cannot share a compilation with their neighbours.
    set_source_files_properties("${vendored}/common/json.cpp"
        TARGET_DIRECTORY llama-common PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
    set_source_files_properties("${vendored}/tools/mtmd/mtmd-helper.cpp" "${vendored}/tools/mtmd/mtmd-helper-gen.cpp"
        TARGET_DIRECTORY mtmd PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
    # Of the tools only the server and what it is made of.
    get_property(folders DIRECTORY "${vendored}/tools" PROPERTY SUBDIRECTORIES)
    foreach(folder IN LISTS folders)
        get_property(targets DIRECTORY "${folder}" PROPERTY BUILDSYSTEM_TARGETS)
        list(REMOVE_ITEM targets mtmd server-context llama-server-impl llama-server llama-ui llama-ui-assets)
        if(targets)
            set_target_properties(${targets} PROPERTIES EXCLUDE_FROM_ALL ON)
        endif()
    endforeach()
    foreach(target mtmd llama-common llama-server-impl llama-server)
        llama_cpp_python_install_target(${target})
    endforeach()
endfunction()

cmake_language(DEFER CALL lema_compile_kernels)
if(LEMA_SERVER)
    cmake_language(DEFER CALL lema_build_llama_server)
endif()
