#include "core/base/budget.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

namespace reprefill {
namespace {

TEST(Budget, DecimalsAreReadExactly) {
  EXPECT_EQ(Budget::parse("0.05"), Budget(1, 20));
  EXPECT_EQ(Budget::from_double(0.05), Budget(1, 20));
  EXPECT_EQ(Budget::parse("1"), Budget(1, 1));
  EXPECT_EQ(Budget::parse("1/3"), Budget(1, 3));
  EXPECT_EQ(Budget::parse("0.500000000"), Budget(1, 2));
}

TEST(Budget, CeilingsAreExactWhereFloatingPointIsNot) {
  // In doubles 0.1 * 30 is 3.0000000000000004 and 0.07 * 100 is 7.000000000000001: their ceilings are one too many.
  EXPECT_EQ(Budget::parse("0.1").ceil_of(30), 3u);
  EXPECT_EQ(Budget::parse("0.07").ceil_of(100), 7u);
  EXPECT_EQ(Budget::parse("0.05").ceil_of(20), 1u);
  EXPECT_EQ(Budget::parse("0.05").ceil_of(21), 2u);
  EXPECT_EQ(Budget::parse("1/3").ceil_of(0), 0u);
  EXPECT_EQ(Budget::parse("1").ceil_of(372), 372u);
}

TEST(Budget, WhatIsNotInZeroToOneIsRefused) {
  for (const char* text :
       {"0", "0.0", "-0.1", "1.5", "2", "3/2", "1/0", "0/5", "", "0,05", "1e-3", "0.0000000001", "abc"}) {
    EXPECT_THROW(Budget::parse(text), std::invalid_argument) << text;
  }
  EXPECT_THROW(Budget::from_double(1e-12), std::invalid_argument);
}

TEST(Budget, PrintsAsItIsWritten) {
  EXPECT_EQ(Budget(1, 20).to_string(), "0.05");
  EXPECT_EQ(Budget(1, 3).to_string(), "1/3");
  EXPECT_EQ(Budget::parse(Budget(3, 8).to_string()), Budget(3, 8));
}

}  // namespace
}  // namespace reprefill
