// The root complex as sender to the NIC: posted, non-posted and completion queues, credits, beats.
#pragma once
#include <cstdint>
#include <deque>
#include <string>

#include "completer.h"
#include "credits.h"
#include "tlp.h"

namespace myr {

struct Beat {
    uint64_t data;
    bool last;
    bool half;
};

class Downstream {
  public:
    explicit Downstream(Completer& completer) : completer_(completer) {}

    void post(Tlp tlp);
    // Non-posted: never passes a posted one queued before it, never holds up posted ones or completions.
    void request(Tlp tlp);
    // The root complex takes no more posted writes for now: they stay with the processor, and completions need not
    // wait behind them.
    bool posted_full() const { return posted_.size() >= kPostedPlaces; }
    // All posted TLPs so far have left.
    bool posted_done() const { return posted_.empty() && !(sending_ && class_ == kPosted); }

    // One cycle: `taken`, the beat offered before has moved; `limits`, granted by the NIC; `landed`, writes of the NIC
    // in memory. Returns whether a beat is offered in `cycle` + 1; a TLP starts right behind the one before.
    bool step(uint64_t cycle, bool taken, const Fc& limits, uint64_t landed);
    Beat beat() const;
    bool idle() const { return !sending_ && posted_.empty() && nonposted_.empty(); }
    // For a person: what waits for the NIC, with the credits it grants, a line.
    std::string state(const Fc& limits) const;

  private:
    static constexpr size_t kPostedPlaces = 16;
    static constexpr int kClasses = 3;
    enum Class { kPosted, kCompletion, kNonPosted };
    struct Request {
        Tlp tlp;
        uint64_t stamp;  // posted TLPs queued before it
    };

    bool pick(uint64_t cycle, const Fc& limits, uint64_t landed);
    bool pick_completion(uint64_t cycle, uint64_t landed);
    bool pick_posted(const Fc& limits);
    bool pick_nonposted(const Fc& limits);

    Completer& completer_;
    std::deque<Tlp> posted_;
    std::deque<Request> nonposted_;
    uint64_t queued_ = 0;
    uint64_t sent_ = 0;
    Fc consumed_;
    Tlp current_;
    size_t position_ = 0;
    bool sending_ = false;
    Class class_ = kNonPosted;
};

}  // namespace myr
