# Builds and runs tests/package/consumer in one of the ways in which a project can use the library: find_package, add_subdirectory,
# FetchContent, pkg-config, or deb (find_package in an unpacked Debian package). What is installed is moved before it is
# used, and what was installed with it (PROGRAM, on its CHECKPOINT) is run from there.
file(REMOVE_RECURSE "${WORK_DIR}")
set(prefix "${WORK_DIR}/moved")
set(consumer "${SOURCE_DIR}/tests/package/consumer")
if(WAY STREQUAL "cuda")
  set(consumer "${SOURCE_DIR}/tests/package/consumer_cuda")
  set(nvcc "-DCMAKE_CUDA_COMPILER=${NVCC}" -DCMAKE_CUDA_ARCHITECTURES=90)
endif()
if(WAY MATCHES "^(find_package|pkg-config|cuda)$")
  execute_process(COMMAND ${CMAKE_COMMAND} --install "${BINARY_DIR}" --prefix "${WORK_DIR}/installed"
                  COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
  file(RENAME "${WORK_DIR}/installed" "${prefix}")
elseif(WAY STREQUAL "deb")
  get_filename_component(bin "${CMAKE_COMMAND}" DIRECTORY)
  execute_process(COMMAND "${bin}/cpack" -G DEB --config "${BINARY_DIR}/CPackConfig.cmake" -B "${WORK_DIR}/cpack"
                  COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
  file(GLOB packages "${WORK_DIR}/cpack/*.deb")
  list(LENGTH packages count)
  if(NOT count EQUAL 1)
    message(FATAL_ERROR "cpack made ${count} packages: ${packages}")
  endif()
  execute_process(COMMAND dpkg-deb --field "${packages}" Package Version Depends COMMAND_ERROR_IS_FATAL ANY
                  OUTPUT_VARIABLE fields)
  if(NOT fields MATCHES "Package: qwen3vl\nVersion: ${VERSION}")
    message(FATAL_ERROR "the package says '${fields}'")
  endif()
  if(PROGRAM AND NOT fields MATCHES "Depends: [^\n]*libpcre2-8-0[^\n]*libutf8proc")
    message(FATAL_ERROR "the package does not depend on what its programs link: '${fields}'")
  endif()
  execute_process(COMMAND dpkg-deb --extract "${packages}" "${WORK_DIR}/unpacked" COMMAND_ERROR_IS_FATAL ANY)
  set(prefix "${WORK_DIR}/unpacked/usr")
endif()

if(PROGRAM AND NOT WAY MATCHES "^(add_subdirectory|FetchContent|cuda)$")
  execute_process(COMMAND "${prefix}/bin/${PROGRAM}" --model "${CHECKPOINT}" --threads 1 --prompt "Describe this image."
                          --image "${CHECKPOINT}/expected/images/01.png"
                  COMMAND_ERROR_IS_FATAL ANY OUTPUT_VARIABLE answer)
  if(NOT answer STREQUAL "A large green star on the right and a small purple heart at the bottom.\n")
    message(FATAL_ERROR "the installed program says '${answer}'")
  endif()
endif()

if(WAY STREQUAL "pkg-config")
  set(ENV{PKG_CONFIG_PATH} "${prefix}/share/pkgconfig")
  execute_process(COMMAND "${PKG_CONFIG}" --modversion qwen3vl-processing COMMAND_ERROR_IS_FATAL ANY
                  OUTPUT_VARIABLE version OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(NOT version STREQUAL VERSION)
    message(FATAL_ERROR "pkg-config says version ${version}, not ${VERSION}")
  endif()
  execute_process(COMMAND "${PKG_CONFIG}" --cflags --libs qwen3vl COMMAND_ERROR_IS_FATAL ANY
                  OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE)
  separate_arguments(flags UNIX_COMMAND "${flags}")
  file(MAKE_DIRECTORY "${WORK_DIR}/build")
  execute_process(COMMAND "${COMPILER}" "-I${SOURCE_DIR}/tests/package/consumer/by_hand" "${SOURCE_DIR}/tests/package/consumer/main.cpp"
                          -o "${WORK_DIR}/build/consumer" ${flags}
                  COMMAND_ERROR_IS_FATAL ANY)
else()
  execute_process(COMMAND ${CMAKE_COMMAND} -S "${consumer}" -B "${WORK_DIR}/build" -G "${GENERATOR}"
                          "-DCMAKE_CXX_COMPILER=${COMPILER}" -DCMAKE_BUILD_TYPE=None "-DWAY=${WAY}" "-DQWEN3VL_VERSION=${VERSION}"
                          "-DCMAKE_PREFIX_PATH=${prefix}" "-DQWEN3VL_SOURCE_DIR=${SOURCE_DIR}" ${nvcc}
                  COMMAND_ERROR_IS_FATAL ANY)
  if(WAY STREQUAL "deb")
    return()  # configuring finds everything; that it compiles, find_package has shown
  endif()
  execute_process(COMMAND ${CMAKE_COMMAND} --build "${WORK_DIR}/build" COMMAND_ERROR_IS_FATAL ANY)
endif()
execute_process(COMMAND "${WORK_DIR}/build/consumer" COMMAND_ERROR_IS_FATAL ANY)
