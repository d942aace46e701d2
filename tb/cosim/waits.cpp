#include "waits.h"

#include <algorithm>
#include <cstring>

namespace myr {

void Waits::begin(uint64_t id, uint64_t deadline) {
    live_.emplace(id, kNoPage);
    deadlines_.emplace(deadline, id);
}

void Waits::begin_monitor(uint64_t id, uint64_t deadline, uint64_t address, const uint8_t* expected,
                          const uint8_t* mask, uint32_t size) {
    Monitor m{};
    m.id = id;
    m.address = address;
    m.size = size;
    std::memcpy(m.expected, expected, size);
    std::memcpy(m.mask, mask, size);
    live_.emplace(id, address >> 12);
    deadlines_.emplace(deadline, id);
    monitors_[address >> 12].push_back(m);
}

bool Waits::matches(uint64_t address, const uint8_t* expected, const uint8_t* mask, uint32_t size) const {
    const uint8_t* bytes = memory_.data() + address;
    for (uint32_t i = 0; i < size; ++i) {
        if ((bytes[i] & mask[i]) != expected[i]) return false;
    }
    return true;
}

void Waits::finish(uint64_t id, uint32_t data) { end(id, kDone, data); }

void Waits::landed(uint64_t address) {
    const auto page = monitors_.find(address >> 12);
    if (page == monitors_.end()) return;
    std::vector<uint64_t> hit;
    for (const Monitor& m : page->second) {
        if (matches(m.address, m.expected, m.mask, m.size)) hit.push_back(m.id);
    }
    for (const uint64_t id : hit) end(id, kDone, 0);
}

void Waits::expire() {
    const uint64_t id = deadlines_.top().second;
    deadlines_.pop();
    end(id, kTimeout, 0);
}

void Waits::end(uint64_t id, WaitStatus status, uint32_t data) {
    const auto wait = live_.find(id);
    if (wait == live_.end()) return;
    if (wait->second != kNoPage) {
        const auto page = monitors_.find(wait->second);
        std::vector<Monitor>& list = page->second;
        list.erase(std::find_if(list.begin(), list.end(), [id](const Monitor& m) { return m.id == id; }));
        if (list.empty()) monitors_.erase(page);
    }
    live_.erase(wait);
    events_.push_back(Event{id, status, data});
}

}  // namespace myr
