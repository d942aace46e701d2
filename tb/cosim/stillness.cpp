#include "stillness.h"

#include <algorithm>
#include <cstring>

#include "Vtop.h"
#include "Vtop___024root.h"
#include "host.h"

namespace myr {

namespace {
constexpr uint64_t kSettled = 64;        // quiet cycles before the first try
constexpr uint64_t kAgain = 1024;        // from the first try to the second; then twice as many each time
constexpr uint64_t kWorth = 2000;        // cycles that take as long as a try
constexpr uint64_t kAwake = 16;          // the last ones are evaluated: stages that carry the cycle's number have the right one
constexpr uint64_t kMost = 1ULL << 30;   // what myr_host_cycle can say
}  // namespace

void Stillness::look(uint64_t cycles) {
    Host* host = attached();
    if (host == nullptr || !host->skips()) return;
    const uint64_t quiet = host->quiet();
    if (quiet < kSettled) {
        still_ = false;
        next_try_ = kSettled;
        again_ = kAgain;
        return;
    }
    cycles = std::min({cycles, host->due() - host->now(), kMost});
    if (cycles <= (still_ ? 2 * kAwake : kWorth) || !host->open()) return;
    if (!still_) {
        if (quiet < next_try_) return;
        still_ = try_it();
        next_try_ = quiet + again_;
        again_ *= 2;
    }
    if (still_) host->skip(cycles - kAwake);
}

bool Stillness::try_it() {
    // plain data: of what is not, strings of a checker that reports and the back door's tasks, an edge uses nothing
    auto* const state = reinterpret_cast<uint8_t*>(top_.rootp);
    constexpr size_t kBytes = sizeof *top_.rootp;
    const auto edge = [this] {
        top_.clk_i = 0;
        top_.eval();
        top_.clk_i = 1;
        top_.eval();
    };
    before_.assign(state, state + kBytes);
    top_.contextp()->assertOn(false);  // of hardware that does move they would see time stand still
    top_.hold_i = 1;
    edge();
    once_.assign(state, state + kBytes);
    edge();
    const bool same = std::memcmp(state, once_.data(), kBytes) == 0;
    std::memcpy(state, before_.data(), kBytes);
    top_.contextp()->assertOn(true);
    return same;
}

}  // namespace myr
