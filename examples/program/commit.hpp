/// Which commit the program was built from.
#pragma once

/// The output of `git describe`, "-dirty" with uncommitted changes, or "unknown". In a file of its own, written when
/// the program is built (cmake/Qwen3VLCommit.cmake), so that a commit recompiles nothing else.
const char* build_commit();
