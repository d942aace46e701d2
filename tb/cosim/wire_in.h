// The line towards the NIC: queued frames become beats at exactly 10 Gb/s. Time is counted in byte times, 5 per cycle.
#pragma once
#include <cstdint>
#include <deque>
#include <vector>

namespace myr {

struct LineBeat {
    uint64_t data;
    uint32_t bytes;
    bool first;
    bool last;
    bool error;
};

class WireIn {
  public:
    // One frame, with FCS; its preamble is on the line in cycle `not_before` at the earliest, and after the frames
    // before it. `error`: the line signals an error in the frame's middle beat.
    void send(const uint8_t* data, uint64_t length, uint64_t not_before, bool error);
    // What is on the line in `cycle`, which grows from call to call; false: nothing starts in it.
    bool step(uint64_t cycle, LineBeat& beat) { return !frames_.empty() && busy(cycle, beat); }
    // A pause frame's last beat left the NIC in `cycle`: no frame starts in so many units of 64 byte times.
    void pause(uint64_t cycle, uint32_t quanta);
    // Frames that have not left completely.
    uint64_t waiting() const { return frames_.size(); }

  private:
    struct Frame {
        std::vector<uint8_t> bytes;
        uint64_t not_before;
        uint64_t error_at;  // byte of the beat with the error
    };
    static constexpr uint64_t kPreambleDue = ~0ULL;

    bool busy(uint64_t cycle, LineBeat& beat);

    std::deque<Frame> frames_;
    uint64_t sent_ = kPreambleDue;  // bytes of the first frame that have left
    uint64_t free_at_ = 0;          // byte time at which the line is free
    uint64_t paused_to_ = 0;        // byte time
};

}  // namespace myr
