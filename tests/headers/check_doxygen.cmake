# Fails if Doxygen (1.9.4 or later) warns about a public header. Runs in the root of the repository.
file(MAKE_DIRECTORY "${OUT}")
file(READ docs/Doxyfile settings)
file(WRITE "${OUT}/Doxyfile" "${settings}\nOUTPUT_DIRECTORY = ${OUT}\nWARN_LOGFILE = ${OUT}/warnings.txt\n")
execute_process(COMMAND ${DOXYGEN} "${OUT}/Doxyfile" OUTPUT_QUIET RESULT_VARIABLE result)
file(READ "${OUT}/warnings.txt" warnings)
if(result OR warnings)
  message(FATAL_ERROR "${DOXYGEN} docs/Doxyfile:\n${warnings}")
endif()
