#include "wire_in.h"

#include <algorithm>

#include "wire.h"

namespace myr {

namespace {
constexpr uint64_t kCycleBytes = 5;
constexpr uint64_t kGapBytes = 12;
constexpr uint64_t kQuantumBytes = 64;
constexpr uint64_t kBeatBytes = 8;
}  // namespace

void WireIn::send(const uint8_t* data, uint64_t length, uint64_t not_before, bool error) {
    const uint64_t middle = length / 2 / kBeatBytes * kBeatBytes;
    frames_.push_back(Frame{std::vector<uint8_t>(data, data + length), not_before, error ? middle : length});
}

void WireIn::pause(uint64_t cycle, uint32_t quanta) {
    paused_to_ = (cycle + 1) * kCycleBytes + quanta * kQuantumBytes;
}

bool WireIn::busy(uint64_t cycle, LineBeat& beat) {
    const Frame& frame = frames_.front();
    const uint64_t end = (cycle + 1) * kCycleBytes;
    uint64_t at = std::max(free_at_, end - kCycleBytes);
    if (sent_ == kPreambleDue) {
        at = std::max(at, paused_to_);
        if (cycle < frame.not_before || at >= end) return false;
        beat = LineBeat{kPreamble, kBeatBytes, true, false, false};
        free_at_ = at + kBeatBytes;
        sent_ = 0;
        return true;
    }
    if (at >= end) return false;
    const uint64_t n = std::min(kBeatBytes, frame.bytes.size() - sent_);
    beat = LineBeat{0, static_cast<uint32_t>(n), false, sent_ + n == frame.bytes.size(), sent_ == frame.error_at};
    for (uint64_t i = 0; i < n; ++i) beat.data |= static_cast<uint64_t>(frame.bytes[sent_ + i]) << (8 * i);
    sent_ += n;
    free_at_ = at + n;
    if (beat.last) {
        free_at_ += kGapBytes;
        sent_ = kPreambleDue;
        frames_.pop_front();
    }
    return true;
}

}  // namespace myr
