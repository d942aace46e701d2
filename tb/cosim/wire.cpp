#include "wire.h"

#include <cstring>

namespace myr {

namespace {
constexpr uint64_t kMinLength = 64;
constexpr uint8_t kPauseAddress[6] = {0x01, 0x80, 0xC2, 0x00, 0x00, 0x01};
constexpr uint8_t kPauseType[4] = {0x88, 0x08, 0x00, 0x01};
}  // namespace

const char* Wire::beat(uint64_t cycle, uint64_t data, uint32_t count, bool first, bool last) {
    pause_ = -1;
    if (first == inside_) return first ? "a frame starts inside another" : "a beat outside any frame";
    if (first) {
        if (data != kPreamble || count != 8 || last) return "the first beat is not preamble and SFD";
        open_ = WireFrame{cycle, 0, bytes_.size(), 0};
        inside_ = true;
        return nullptr;
    }
    if (count == 0 || count > 8 || (count < 8 && !last)) return "a beat of other than 8 bytes before the last";
    for (uint32_t i = 0; i < count; ++i) bytes_.push_back(static_cast<uint8_t>(data >> (8 * i)));
    if (last) {
        open_.last_cycle = cycle;
        open_.length = bytes_.size() - open_.offset;
        frames_.push_back(open_);
        const uint8_t* frame = bytes_.data() + open_.offset;
        if (open_.length >= kMinLength && std::memcmp(frame, kPauseAddress, sizeof kPauseAddress) == 0 &&
            std::memcmp(frame + 12, kPauseType, sizeof kPauseType) == 0) {
            pause_ = frame[16] << 8 | frame[17];
        }
        inside_ = false;
    }
    return nullptr;
}

void Wire::drain() {
    frames_.clear();
    if (inside_) {
        bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(open_.offset));
        open_.offset = 0;
    } else {
        bytes_.clear();
    }
}

}  // namespace myr
