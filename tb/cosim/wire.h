// The wire's far end: beats become frames (with FCS, without preamble), stamped with their first and last cycle.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace myr {

struct WireFrame {
    uint64_t first_cycle;
    uint64_t last_cycle;
    uint64_t offset;  // in bytes()
    uint64_t length;
};

// Seven times 55, then the SFD.
constexpr uint64_t kPreamble = 0xD555555555555555ULL;

class Wire {
  public:
    // Returns a sentence when the beat breaks the framing, else null.
    const char* beat(uint64_t cycle, uint64_t data, uint32_t count, bool first, bool last);
    // Pause time of the frame that ended with the last beat, if it is a pause frame (sent to the group), else -1.
    int32_t pause() const { return pause_; }
    const std::vector<WireFrame>& frames() const { return frames_; }
    const std::vector<uint8_t>& bytes() const { return bytes_; }
    // Forgets complete frames, keeps the one under way.
    void drain();

  private:
    std::vector<WireFrame> frames_;
    std::vector<uint8_t> bytes_;
    WireFrame open_{};
    int32_t pause_ = -1;
    bool inside_ = false;
};

}  // namespace myr
