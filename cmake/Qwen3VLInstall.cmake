# Install rules: headers, the targets, and a package that find_package(qwen3vl) finds.
include(CMakePackageConfigHelpers)
set(qwen3vl_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/qwen3vl")
install(DIRECTORY include/qwen3vl DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(TARGETS qwen3vl qwen3vl_io qwen3vl_processing EXPORT qwen3vl_targets)
install(EXPORT qwen3vl_targets NAMESPACE qwen3vl:: FILE qwen3vlTargets.cmake DESTINATION "${qwen3vl_package_dir}")
configure_package_config_file(cmake/qwen3vlConfig.cmake.in "${CMAKE_CURRENT_BINARY_DIR}/qwen3vlConfig.cmake"
                              INSTALL_DESTINATION "${qwen3vl_package_dir}")
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/qwen3vlConfigVersion.cmake" COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/qwen3vlConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/qwen3vlConfigVersion.cmake"
              cmake/Qwen3VLDependencies.cmake cmake/Qwen3VLVariant.cmake cmake/Qwen3VLGguf.cmake cmake/gguf_config.cpp
        DESTINATION "${qwen3vl_package_dir}")

# pkg-config. Nothing depends on the architecture, and the files find the rest from where they are.
if(NOT CMAKE_INSTALL_INCLUDEDIR MATCHES "^/")
  foreach(package IN ITEMS qwen3vl qwen3vl-processing)
    configure_file(cmake/${package}.pc.in "${CMAKE_CURRENT_BINARY_DIR}/${package}.pc" @ONLY)
    install(FILES "${CMAKE_CURRENT_BINARY_DIR}/${package}.pc" DESTINATION share/pkgconfig)
  endforeach()
endif()
if(QWEN3VL_C_API)
  install(FILES examples/c/describe.c DESTINATION "${CMAKE_INSTALL_DOCDIR}/examples")
endif()

# cpack -G DEB: headers, package files, and the programs and libraries of this build. What those link is found by
# dpkg-shlibdeps, without which cpack would make a package whose programs do not start; the headers' needs are named.
if(PROJECT_IS_TOP_LEVEL)
  set(CPACK_GENERATOR DEB)
  set(CPACK_PACKAGE_NAME qwen3vl)
  set(CPACK_PACKAGE_DIRECTORY "${PROJECT_BINARY_DIR}")
  set(CPACK_PACKAGE_CONTACT "the qwen3vl authors")
  set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
  set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
  set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
  set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
  set(CPACK_PROJECT_CONFIG_FILE "${CMAKE_CURRENT_SOURCE_DIR}/cmake/Qwen3VLPack.cmake")
  set(CPACK_DEBIAN_PACKAGE_RECOMMENDS
      "libeigen3-dev, nlohmann-json3-dev, libstb-dev, libutf8proc-dev, libpcre2-dev")
  include(CPack)
endif()
