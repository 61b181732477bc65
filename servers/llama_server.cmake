# llama.cpp's own server, built with llama-cpp-python from the sources that its sdist carries, into the folder of its
# library. The Makefile gives this file to that build: CMAKE_ARGS=-DCMAKE_PROJECT_INCLUDE=servers/llama_server.cmake.
# Several sources are compiled as one (unity build): server and library take the time that the library took alone.

if(NOT PROJECT_NAME STREQUAL "llama_cpp")
    return()
endif()

set(CMAKE_UNITY_BUILD ON)
set(LLAVA_BUILD OFF)            # the server's folder of tools has the same library
set(LLAMA_BUILD_TOOLS ON)
set(LLAMA_BUILD_SERVER ON)
set(LLAMA_OPENSSL OFF)          # it listens on loopback
set(LLAMA_SUBPROCESS OFF)       # no tools that start programs, no router
set(LLAMA_BUILD_UI OFF)         # no web page, and none fetched
set(LLAMA_USE_PREBUILT_UI OFF)

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
    # Nor can kernels: which are compiled, and so which clash, depends on the processor (those for AMX do).
    get_property(targets DIRECTORY "${vendored}/ggml/src" PROPERTY BUILDSYSTEM_TARGETS)
    list(FILTER targets INCLUDE REGEX "^ggml-cpu")
    if(targets)
        set_target_properties(${targets} PROPERTIES UNITY_BUILD OFF)
    endif()
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

cmake_language(DEFER CALL lema_build_llama_server)
