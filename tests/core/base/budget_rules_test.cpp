// Budgets for every small fraction and decimal, against integer arithmetic; and what refusals say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include <fmt/format.h>

#include "core/base/budget.hpp"
#include "core/base/random.hpp"

namespace reprefill {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

/// The smallest k with k / count >= numerator / denominator, by counting up.
std::uint64_t ceil_by_counting(std::uint64_t numerator, std::uint64_t denominator, std::uint64_t count) {
  std::uint64_t k = 0;
  while (k * denominator < numerator * count) ++k;
  return k;
}

TEST(BudgetRules, EveryFractionIsExact) {
  for (std::uint64_t denominator = 1; denominator <= 60; ++denominator) {
    for (std::uint64_t numerator = 1; numerator <= denominator; ++numerator) {
      const Budget budget = Budget::parse(fmt::format("{}/{}", numerator, denominator));
      for (const std::uint64_t count : {0, 1, 2, 19, 20, 21, 59, 60, 94, 375, 376}) {
        ASSERT_EQ(budget.ceil_of(count), ceil_by_counting(numerator, denominator, count))
            << numerator << "/" << denominator << " of " << count;
      }
    }
  }
}

TEST(BudgetRules, EveryDecimalOfThreePlacesIsExactAsTextAndAsANumber) {
  for (std::uint64_t thousandths = 1; thousandths <= 1000; ++thousandths) {
    const Budget text = Budget::parse(fmt::format("{}.{:03}", thousandths / 1000, thousandths % 1000));
    EXPECT_EQ(Budget::from_double(static_cast<double>(thousandths) / 1000), text);
    for (const std::uint64_t count : {20, 372, 1000}) {
      ASSERT_EQ(text.ceil_of(count), ceil_by_counting(thousandths, 1000, count)) << thousandths << " of " << count;
    }
  }
}

TEST(BudgetRules, FractionsAreReduced) {
  EXPECT_EQ(Budget::parse("2/4"), Budget(1, 2));
  EXPECT_EQ(Budget::parse("7/7"), Budget(1, 1));
  EXPECT_EQ(Budget::parse("1.000"), Budget(1, 1));
  EXPECT_EQ(Budget::parse("0.250"), Budget::parse("1/4"));
}

TEST(BudgetRules, NinePlacesAreTakenAndTenAreNot) {
  EXPECT_EQ(Budget::parse("0.000000001"), Budget(1, 1'000'000'000));
  EXPECT_EQ(Budget::from_double(1e-9), Budget(1, 1'000'000'000));
  EXPECT_EQ(Budget::parse("0.999999999").ceil_of(18'000'000'000), 17'999'999'982u);  // no overflow
  EXPECT_THROW(Budget::parse("0.0000000001"), std::invalid_argument);
  EXPECT_THROW(Budget::parse("1/1000000001"), std::invalid_argument);
}

TEST(BudgetRules, ASmallNumberInJsonIsTheDecimalThatItWasWrittenAs) {
  // The shortest text of this double is 1e-05.
  EXPECT_EQ(Budget::from_double(0.00001), Budget(1, 100'000));
  EXPECT_EQ(Budget::from_double(2.5e-7), Budget(1, 4'000'000));
}

TEST(BudgetRules, ANumberThatIsNoShortDecimalIsRefusedRatherThanRounded) {
  for (const double value : {0.1 + 0.2, 1.0 / 3, 1e-10, 1e-12, 1e-300, 5e-324}) {
    EXPECT_THAT([=] { Budget::from_double(value); },
                ThrowsMessage<std::invalid_argument>(
                    AllOf(HasSubstr("is not a budget"), HasSubstr("nine places"), HasSubstr("\"1/3\""))))
        << value;
  }
  EXPECT_EQ(Budget::from_double(0.3), Budget(3, 10));
}

TEST(BudgetRules, WhatIsOutsideZeroToOneIsRefusedAsThat) {
  for (const char* text : {"0", "0.000", "-0.05", "-1", "1.000000001", "2", "3/2", "0/3", "1/0", "0/0"}) {
    EXPECT_THAT([=] { Budget::parse(text); },
                ThrowsMessage<std::invalid_argument>(AllOf(HasSubstr(text), HasSubstr("is outside (0, 1]"))))
        << text;
  }
  for (const double value : {0.0, -0.5, 1.5, 2.0}) {
    EXPECT_THAT([=] { Budget::from_double(value); },
                ThrowsMessage<std::invalid_argument>(HasSubstr("is outside (0, 1]")))
        << value;
  }
}

TEST(BudgetRules, WhatIsNoNumberIsRefusedWithAnExampleOfOne) {
  for (const char* text : {"",
                           " ",
                           "0,05",
                           "5%",
                           "five",
                           "0.0.5",
                           ".5",
                           "+0.5",
                           " 0.5",
                           "0.5 ",
                           "1e-3",
                           "0x1",
                           "1/",
                           "/3",
                           "1/3/5",
                           "1/-3",
                           "0.5/2",
                           "inf",
                           "nan",
                           "1,000",
                           "99999999999999999999/3",
                           "1/99999999999999999999",
                           "0.-5",
                           "\xc2\xbd"}) {
    EXPECT_THAT([=] { Budget::parse(text); },
                ThrowsMessage<std::invalid_argument>(
                    AllOf(HasSubstr(fmt::format("`{}`", text)), HasSubstr("expected a decimal such as 0.05"))))
        << text;
  }
}

TEST(BudgetRules, WhatIsPrintedIsReadBack) {
  RandomStream random(1, 0, "budget");
  for (int i = 0; i < 20'000; ++i) {
    // Denominators of all kinds: powers of two and ten as well as those that no decimal reaches.
    const std::uint64_t denominator =
        i % 3 == 0 ? std::uint64_t{1} << random.below(29) : 1 + random.below(i % 3 == 1 ? 1000 : 1'000'000'000);
    const std::uint64_t numerator = 1 + random.below(denominator);
    const Budget budget = Budget::parse(fmt::format("{}/{}", numerator, denominator));
    ASSERT_EQ(Budget::parse(budget.to_string()), budget) << budget.to_string();
  }
}

TEST(BudgetRules, DecimalsArePrintedPlainly) {
  EXPECT_EQ(Budget(1, 1).to_string(), "1");
  EXPECT_EQ(Budget(1, 100'000).to_string(), "0.00001");
  EXPECT_EQ(Budget(1, 512).to_string(), "0.001953125");
  EXPECT_EQ(Budget(1, 1024).to_string(), "1/1024");  // ten places
  EXPECT_EQ(Budget(2, 3).to_string(), "2/3");
}

}  // namespace
}  // namespace reprefill
