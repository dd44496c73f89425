# Read by cpack before it packs: what cpack itself only warns of.
cmake_minimum_required(VERSION 3.22)
if(CPACK_GENERATOR STREQUAL "DEB")
  find_program(QWEN3VL_SHLIBDEPS dpkg-shlibdeps)
  find_program(QWEN3VL_FILE file)
  if(NOT QWEN3VL_SHLIBDEPS OR NOT QWEN3VL_FILE)
    message(FATAL_ERROR "a Debian package says what its programs link, which dpkg-shlibdeps and file find: apt-get install dpkg-dev file")
  endif()
endif()
