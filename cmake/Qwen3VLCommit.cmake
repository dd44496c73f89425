# Writes OUTPUT, the definition of examples/program/commit.hpp, if the commit of SOURCE_DIR has changed.
set(commit "")
find_package(Git QUIET)
# A release without its repository, or unpacked inside another one, has no commit.
if(GIT_FOUND AND EXISTS "${SOURCE_DIR}/.git")
  execute_process(COMMAND "${GIT_EXECUTABLE}" -C "${SOURCE_DIR}" describe --always --dirty --abbrev=12
                  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT commit MATCHES "^[A-Za-z0-9._/-]+$")
  set(commit unknown)
endif()
file(CONFIGURE OUTPUT "${OUTPUT}" CONTENT [[
#include "program/commit.hpp"

const char* build_commit() { return "@commit@"; }
]] @ONLY)
