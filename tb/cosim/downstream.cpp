#include "downstream.h"

namespace myr {

void Downstream::post(Tlp tlp) {
    posted_.push_back(std::move(tlp));
    ++queued_;
}

void Downstream::request(Tlp tlp) { nonposted_.push_back({std::move(tlp), queued_}); }

bool Downstream::step(uint64_t cycle, bool taken, const Fc& limits, uint64_t landed) {
    if (sending_) {
        if (!taken) return true;
        position_ += 2;
        if (position_ < current_.size()) return true;
        sending_ = false;
    }
    sending_ = pick(cycle, limits, landed);
    position_ = 0;
    return sending_;
}

Beat Downstream::beat() const {
    const bool half = position_ + 1 == current_.size();
    const uint64_t upper = half ? 0 : current_[position_ + 1];
    return {upper << 32 | current_[position_], position_ + 2 >= current_.size(), half};
}

bool Downstream::pick(uint64_t cycle, const Fc& limits, uint64_t landed) {
    // the three classes take turns: none waits for ever while the link is full of another
    for (int turn = 1; turn <= kClasses; ++turn) {
        switch ((class_ + turn) % kClasses) {
            case kPosted:
                if (pick_posted(limits)) return true;
                break;
            case kNonPosted:
                if (pick_nonposted(limits)) return true;
                break;
            default:
                if (pick_completion(cycle, landed)) return true;
        }
    }
    return false;
}

bool Downstream::pick_completion(uint64_t cycle, uint64_t landed) {
    if (!completer_.next(cycle + 1, landed, sent_, queued_, current_)) return false;
    class_ = kCompletion;
    return true;
}

bool Downstream::pick_posted(const Fc& limits) {
    if (posted_.empty()) return false;
    const uint32_t data = data_credits(tlp_length(posted_.front()[0]));
    if (!fits(limits.posted, consumed_.posted, data)) return false;
    consumed_.posted.headers += 1;
    consumed_.posted.data += data;
    current_ = std::move(posted_.front());
    posted_.pop_front();
    ++sent_;
    class_ = kPosted;
    return true;
}

bool Downstream::pick_nonposted(const Fc& limits) {
    if (nonposted_.empty() || nonposted_.front().stamp > sent_) return false;
    const Tlp& tlp = nonposted_.front().tlp;
    const uint32_t data = tlp_has_data(tlp_type(tlp)) ? 1 : 0;
    if (!fits(limits.nonposted, consumed_.nonposted, data)) return false;
    consumed_.nonposted.headers += 1;
    consumed_.nonposted.data += data;
    current_ = std::move(nonposted_.front().tlp);
    nonposted_.pop_front();
    class_ = kNonPosted;
    return true;
}

std::string Downstream::state(const Fc& limits) const {
    return "to the NIC: " + std::to_string(posted_.size()) + " posted and " + std::to_string(nonposted_.size()) +
           " non-posted TLPs wait; credits left: " + left(limits, consumed_) + "\n";
}

}  // namespace myr
