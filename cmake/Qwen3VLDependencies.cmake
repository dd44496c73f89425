# Finds what the library needs, for this project and for the installed package alike. Missing ones are reported together,
# with the command that gets them on Debian and Ubuntu.
set(_qwen3vl_missing "")

find_package(Eigen3 3.3 QUIET NO_MODULE)
if(NOT TARGET Eigen3::Eigen)
  list(APPEND _qwen3vl_missing libeigen3-dev)
endif()
find_package(OpenMP QUIET COMPONENTS CXX)
if(NOT TARGET OpenMP::OpenMP_CXX)
  list(APPEND _qwen3vl_missing "libgomp1 (GCC) or libomp-dev (Clang)")
endif()
find_package(nlohmann_json 3.7 QUIET)
if(NOT TARGET nlohmann_json::nlohmann_json)
  list(APPEND _qwen3vl_missing nlohmann-json3-dev)
endif()

if(NOT TARGET qwen3vl::stb)
  find_path(QWEN3VL_STB_INCLUDE_DIR stb/stb_image.h)
  if(QWEN3VL_STB_INCLUDE_DIR)
    add_library(qwen3vl::stb INTERFACE IMPORTED)
    set_target_properties(qwen3vl::stb PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${QWEN3VL_STB_INCLUDE_DIR}")
  else()
    list(APPEND _qwen3vl_missing libstb-dev)
  endif()
endif()

function(_qwen3vl_find_c_library name header library package)
  if(TARGET qwen3vl::${name})
    return()
  endif()
  string(TOUPPER ${name} upper)
  find_path(QWEN3VL_${upper}_INCLUDE_DIR ${header})
  find_library(QWEN3VL_${upper}_LIBRARY ${library})
  if(QWEN3VL_${upper}_INCLUDE_DIR AND QWEN3VL_${upper}_LIBRARY)
    add_library(qwen3vl::${name} UNKNOWN IMPORTED GLOBAL)
    set_target_properties(qwen3vl::${name} PROPERTIES
      IMPORTED_LOCATION "${QWEN3VL_${upper}_LIBRARY}"
      INTERFACE_INCLUDE_DIRECTORIES "${QWEN3VL_${upper}_INCLUDE_DIR}")
  else()
    set(_qwen3vl_missing ${_qwen3vl_missing} ${package} PARENT_SCOPE)
  endif()
endfunction()
_qwen3vl_find_c_library(utf8proc utf8proc.h utf8proc libutf8proc-dev)
_qwen3vl_find_c_library(pcre2 pcre2.h pcre2-8 libpcre2-dev)

# Video files are optional: qwen3vl::video is there where FFmpeg's libraries are.
set(QWEN3VL_LIBAV AUTO CACHE STRING "Video files through FFmpeg's libraries (the target qwen3vl::video): AUTO, ON, OFF")
set_property(CACHE QWEN3VL_LIBAV PROPERTY STRINGS AUTO ON OFF)
if(QWEN3VL_LIBAV AND NOT TARGET qwen3vl::libav)
  find_path(QWEN3VL_LIBAV_INCLUDE_DIR libavformat/avformat.h PATH_SUFFIXES ffmpeg)
  set(_qwen3vl_libav "${QWEN3VL_LIBAV_INCLUDE_DIR}")
  foreach(name IN ITEMS avformat avcodec swscale avutil)
    string(TOUPPER ${name} upper)
    find_library(QWEN3VL_${upper}_LIBRARY ${name})
    list(APPEND _qwen3vl_libav "${QWEN3VL_${upper}_LIBRARY}")
  endforeach()
  foreach(header IN ITEMS libavcodec/avcodec.h libswscale/swscale.h libavutil/frame.h)
    if(NOT EXISTS "${QWEN3VL_LIBAV_INCLUDE_DIR}/${header}")
      list(APPEND _qwen3vl_libav NOTFOUND)
    endif()
  endforeach()
  if(NOT _qwen3vl_libav MATCHES "NOTFOUND")
    add_library(qwen3vl::libav INTERFACE IMPORTED GLOBAL)
    set_target_properties(qwen3vl::libav PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${QWEN3VL_LIBAV_INCLUDE_DIR}")
    list(REMOVE_AT _qwen3vl_libav 0)
    set_target_properties(qwen3vl::libav PROPERTIES INTERFACE_LINK_LIBRARIES "${_qwen3vl_libav}")
  elseif(NOT QWEN3VL_LIBAV STREQUAL "AUTO")
    list(APPEND _qwen3vl_missing libavformat-dev libavcodec-dev libavutil-dev libswscale-dev)
  endif()
endif()

# JPEG files by libjpeg-turbo, pixel for pixel as Pillow reads them, are optional: qwen3vl::jpeg is there where it is.
set(QWEN3VL_TURBOJPEG AUTO CACHE STRING "JPEG files through libjpeg-turbo (the target qwen3vl::jpeg): AUTO, ON, OFF")
set_property(CACHE QWEN3VL_TURBOJPEG PROPERTY STRINGS AUTO ON OFF)
if(QWEN3VL_TURBOJPEG AND NOT TARGET qwen3vl::turbojpeg)
  find_path(QWEN3VL_TURBOJPEG_INCLUDE_DIR turbojpeg.h)
  find_library(QWEN3VL_TURBOJPEG_LIBRARY turbojpeg)
  if(QWEN3VL_TURBOJPEG_INCLUDE_DIR AND QWEN3VL_TURBOJPEG_LIBRARY)
    add_library(qwen3vl::turbojpeg INTERFACE IMPORTED GLOBAL)
    set_target_properties(qwen3vl::turbojpeg PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${QWEN3VL_TURBOJPEG_INCLUDE_DIR}"
                                                        INTERFACE_LINK_LIBRARIES "${QWEN3VL_TURBOJPEG_LIBRARY}")
  elseif(NOT QWEN3VL_TURBOJPEG STREQUAL "AUTO")
    list(APPEND _qwen3vl_missing libturbojpeg0-dev)
  endif()
endif()

# Makes qwen3vl::jpeg, once there is qwen3vl::io, as the next does qwen3vl::video.
function(_qwen3vl_add_jpeg)
  if(TARGET qwen3vl::turbojpeg AND NOT TARGET qwen3vl::jpeg)
    add_library(qwen3vl::jpeg INTERFACE IMPORTED GLOBAL)
    set_target_properties(qwen3vl::jpeg PROPERTIES INTERFACE_LINK_LIBRARIES "qwen3vl::io;qwen3vl::turbojpeg"
                                                   INTERFACE_COMPILE_DEFINITIONS QWEN3VL_HAVE_TURBOJPEG=1)
  endif()
endfunction()

# Makes qwen3vl::video, once there is qwen3vl::io. Made here rather than installed with the others, because it depends on
# where the library is used, not on where it was installed.
function(_qwen3vl_add_video)
  if(TARGET qwen3vl::libav AND NOT TARGET qwen3vl::video)
    add_library(qwen3vl::video INTERFACE IMPORTED GLOBAL)
    set_target_properties(qwen3vl::video PROPERTIES INTERFACE_LINK_LIBRARIES "qwen3vl::io;qwen3vl::libav"
                                                    INTERFACE_COMPILE_DEFINITIONS QWEN3VL_HAVE_LIBAV=1)
  endif()
endfunction()

# CUDA is asked for by QWEN3VL_CUDA inside the project, and by find_package(qwen3vl COMPONENTS cuda) of the package; nobody
# else needs it.
if("cuda" IN_LIST qwen3vl_FIND_COMPONENTS OR (QWEN3VL_CUDA AND NOT CMAKE_FIND_PACKAGE_NAME))
  if(NOT TARGET CUDA::cudart)
    find_package(CUDAToolkit 12.4 QUIET)
    foreach(target IN ITEMS CUDA::toolkit CUDA::cudart CUDA::cublasLt)  # for all who link qwen3vl::cuda
      if(TARGET ${target})
        set_target_properties(${target} PROPERTIES IMPORTED_GLOBAL TRUE)
      endif()
    endforeach()
  endif()
  if(NOT TARGET CUDA::cudart OR NOT TARGET CUDA::cublasLt)
    list(APPEND _qwen3vl_missing "the CUDA Toolkit 12.4 or later (developer.nvidia.com/cuda-downloads; CUDAToolkit_ROOT says where it is)")
  endif()
endif()

# Makes qwen3vl::cuda, once there is qwen3vl::qwen3vl: for sources that nvcc compiles (language CUDA). Made where the library
# is used, like qwen3vl::video.
function(_qwen3vl_add_cuda)
  if(TARGET CUDA::cudart AND TARGET CUDA::cublasLt AND NOT TARGET qwen3vl::cuda)
    add_library(qwen3vl::cuda INTERFACE IMPORTED GLOBAL)
    # CMake of Debian 12 does not know cuda_std_20 of nvcc 13. OpenMP's own target has flags for C++ only. Eigen marks
    # functions that nvcc would rather have unmarked.
    set(options "")
    foreach(option IN ITEMS -std=c++20 "-Xcompiler=${OpenMP_CXX_FLAGS}" -diag-suppress=20012,20014)
      list(APPEND options "$<$<COMPILE_LANGUAGE:CUDA>:${option}>")
    endforeach()
    set_target_properties(qwen3vl::cuda PROPERTIES INTERFACE_COMPILE_OPTIONS "${options}"
                          INTERFACE_LINK_LIBRARIES "qwen3vl::qwen3vl;CUDA::cudart;CUDA::cublasLt")
  endif()
endfunction()

if(_qwen3vl_missing)
  list(JOIN _qwen3vl_missing " " _qwen3vl_missing)
  set(_qwen3vl_message "qwen3vl needs packages that were not found. On Debian or Ubuntu: apt-get install ${_qwen3vl_missing}")
  if(CMAKE_FIND_PACKAGE_NAME)
    set(${CMAKE_FIND_PACKAGE_NAME}_FOUND FALSE)
    set(${CMAKE_FIND_PACKAGE_NAME}_NOT_FOUND_MESSAGE "${_qwen3vl_message}")
  else()
    message(FATAL_ERROR "${_qwen3vl_message}")
  endif()
endif()
