// Software's time between two accesses: cycles in which the hardware stays as it is are counted, not evaluated.
#pragma once
#include <cstdint>
#include <vector>

class Vtop;

namespace myr {

// A model is still when an edge of its clock, with the cycle counter held, changes not one byte of it. Then further
// edges change nothing either, until its inputs change, or the counter reaches a number that something waits for
// (`timed` of host_in_t).
class Stillness {
  public:
    explicit Stillness(Vtop& top) : top_(top) {}
    // Behind each rising edge: nothing but the machine's host acts for so many `cycles`. What can be skipped of them is.
    void look(uint64_t cycles);

  private:
    bool try_it();

    Vtop& top_;
    bool still_ = false;
    uint64_t next_try_ = 0;  // by cycles that were quiet
    uint64_t again_ = 0;
    std::vector<uint8_t> before_;
    std::vector<uint8_t> once_;
};

}  // namespace myr
