/// CHECK_FAILS(expression, text): the expression throws an Error that contains the text.
#pragma once

#include <boost/test/unit_test.hpp>
#include <string>

#include "qwen3vl/base/error.hpp"

namespace qwen3vl::test {

inline bool mentions(const Error& error, const std::string& text) {
  const bool found = std::string(error.what()).find(text) != std::string::npos;
  if (!found) BOOST_TEST_MESSAGE("message was: " << error.what());
  return found;
}

}  // namespace qwen3vl::test

#define CHECK_FAILS(expression, text)               \
  BOOST_CHECK_EXCEPTION(expression, qwen3vl::Error, \
                        [&](const qwen3vl::Error& e) { return qwen3vl::test::mentions(e, text); })
