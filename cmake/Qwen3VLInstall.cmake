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
              cmake/Qwen3VLDependencies.cmake cmake/Qwen3VLVariant.cmake
        DESTINATION "${qwen3vl_package_dir}")
