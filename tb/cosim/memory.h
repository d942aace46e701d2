// Machine RAM: one anonymous mapping from machine address 0, shared with Python without a copy.
#pragma once
#include <cstdint>

namespace myr {

class Memory {
  public:
    explicit Memory(uint64_t bytes);
    ~Memory();
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    uint8_t* data() { return base_; }
    const uint8_t* data() const { return base_; }
    uint64_t size() const { return bytes_; }
    bool holds(uint64_t address, uint64_t length) const { return address <= bytes_ && length <= bytes_ - address; }

  private:
    uint8_t* base_;
    uint64_t bytes_;
};

}  // namespace myr
