#include "walker.h"

#include <cstring>

namespace myr {

void Walker::read(uint64_t cycle, uint8_t id, uint64_t address) {
    pending_.push_back({cycle + config_.walk_latency + rng_.tail(config_.walk_jitter), address, id});
}

bool Walker::next(uint64_t cycle, WalkAnswer& answer) {
    if (pending_.empty()) return false;
    size_t best = 0;
    for (size_t i = 1; i < pending_.size(); ++i) {
        if (pending_[i].due < pending_[best].due) best = i;
    }
    const Pending p = pending_[best];
    if (p.due > cycle) return false;
    pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(best));
    answer = {p.id, !memory_.holds(p.address, 16), 0, 0};
    if (!answer.error) {
        std::memcpy(&answer.low, memory_.data() + p.address, 8);
        std::memcpy(&answer.high, memory_.data() + p.address + 8, 8);
    }
    return true;
}

}  // namespace myr
