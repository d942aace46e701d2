#include "credits.h"

#include "tlp.h"

namespace myr {

CreditGrant::CreditGrant(const HostConfig& config) : config_(config), rng_(config.seed, 4) {
    granted_.posted = {config.credit_ph, config.credit_pd};
    granted_.nonposted = {config.credit_nph, config.credit_npd};
    advertised_ = granted_;
}

bool CreditGrant::consume(uint8_t type, uint32_t dws) {
    open_counted_ = type != kCpl && type != kCplD;
    if (!open_counted_) return true;
    open_posted_ = type == kMWr32 || type == kMWr64;
    open_data_ = tlp_has_data(type) ? data_credits(dws) : 0;
    CreditPair& used = open_posted_ ? consumed_.posted : consumed_.nonposted;
    const CreditPair& limit = open_posted_ ? advertised_.posted : advertised_.nonposted;
    const bool ok = fits(limit, used, open_data_);
    used.headers += 1;
    used.data += open_data_;
    return ok;
}

void CreditGrant::release(uint64_t cycle) {
    if (open_counted_) returns_.push_back({cycle + config_.credit_latency, open_posted_, open_data_});
}

std::string left(const Fc& limit, const Fc& consumed) {
    const auto pair = [](const CreditPair& most, const CreditPair& used) {
        return std::to_string((most.headers - used.headers) & 0xFF) + " headers, " +
               std::to_string((most.data - used.data) & 0xFFF) + " data units";
    };
    return "posted " + pair(limit.posted, consumed.posted) + "; non-posted " +
           pair(limit.nonposted, consumed.nonposted);
}

std::string CreditGrant::state() const {
    return "credits of the NIC: " + left(advertised_, consumed_) + "; " + std::to_string(returns_.size()) +
           " TLPs' on their way" + (starving_ ? ", held back" : "") + "\n";
}

uint64_t CreditGrant::limits(uint64_t cycle) {
    if (config_.starvation_permille != 0 && cycle >= period_end_) {
        starving_ = rng_.permille(config_.starvation_permille);
        period_end_ = cycle + 64 + rng_.below(1985);
    }
    while (!returns_.empty() && returns_.front().due <= cycle) {
        CreditPair& pair = returns_.front().posted ? granted_.posted : granted_.nonposted;
        pair.headers += 1;
        pair.data += returns_.front().data;
        returns_.pop_front();
    }
    if (!starving_) advertised_ = granted_;
    return advertised_.pack();
}

}  // namespace myr
