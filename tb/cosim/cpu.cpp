#include "cpu.h"

#include <cstring>

namespace myr {

namespace {
constexpr uint32_t kAllOnes = 0xFFFFFFFF;
constexpr uint64_t kRegisterPage = 4096;
}  // namespace

void Cpu::write(uint64_t address, const uint8_t* data, uint32_t size) {
    Op op{true, address, 0, size, {}};
    std::memcpy(op.data.data(), data, size);
    queue_.push_back(op);
}

void Cpu::read(uint64_t address, uint64_t id) { queue_.push_back({false, address, id, 4, {}}); }

void Cpu::step(bool accepted, bool answered, uint32_t answer) {
    if (accepted) port_.valid = false;
    if (answered && reg_read_open_) {
        reg_read_open_ = false;
        waits_.finish(reg_read_id_, answer);
    }
    while (!queue_.empty() && !config_write_open_ && !port_.valid && !reg_read_open_ && issue(queue_.front())) {
        queue_.pop_front();
    }
}

bool Cpu::issue(const Op& op) {
    if (op.address - config_.pci_window < config_.pci_window_bytes) {
        if (op.write) {
            if (downstream_.posted_full()) return false;
            downstream_.post(make_write(op.address, op.data.data(), op.size));
            return true;
        }
        uint8_t tag = 0;
        if (!take_tag(op.id, op.address & 0x7F, false, tag)) return false;
        downstream_.request(make_read(op.address, tag));
        return true;
    }
    if (op.address - config_.ecam < config_.ecam_bytes) return issue_config(op);
    if (op.address - config_.iommu < kRegisterPage) return issue_register(op);
    if (!op.write) waits_.finish(op.id, kAllOnes);
    return true;
}

bool Cpu::issue_config(const Op& op) {
    const uint64_t offset = op.address - config_.ecam;
    if (offset >> 20 != config_.nic_bus) {
        if (!op.write) waits_.finish(op.id, kAllOnes);
        return true;
    }
    const uint16_t id = static_cast<uint16_t>(offset >> 12);
    uint8_t tag = 0;
    if (!take_tag(op.id, 0, op.write, tag)) return false;
    if (op.write) {
        config_write_open_ = true;
        downstream_.request(make_cfg_write(id, offset & 0xFFF, tag, op.data.data(), op.size));
    } else {
        downstream_.request(make_cfg_read(id, offset & 0xFFF, tag));
    }
    return true;
}

bool Cpu::issue_register(const Op& op) {
    if (!downstream_.posted_done()) return false;
    port_ = {true, op.write, static_cast<uint32_t>(op.address - config_.iommu), 0};
    std::memcpy(&port_.data, op.data.data(), 4);
    if (!op.write) {
        reg_read_open_ = true;
        reg_read_id_ = op.id;
    }
    return true;
}

bool Cpu::take_tag(uint64_t id, uint8_t lower_address, bool config_write, uint8_t& tag) {
    for (size_t i = 0; i < pending_.size(); ++i) {
        if (pending_[i].active) continue;
        pending_[i] = {true, config_write, id, lower_address};
        tag = static_cast<uint8_t>(i);
        return true;
    }
    return false;
}

const char* Cpu::completion(const Tlp& tlp) {
    const uint8_t tag = static_cast<uint8_t>(tlp[2] >> 8);
    if ((tlp[2] >> 16) != 0 || tag >= pending_.size() || !pending_[tag].active) return "no request has this ID and tag";
    Pending& p = pending_[tag];
    p.active = false;
    if (p.config_write) {
        config_write_open_ = false;
        return tlp_type(tlp) == kCpl ? nullptr : "completion with data for a configuration write";
    }
    const uint32_t status = tlp[1] >> 13 & 7;
    if (status != kSc) {
        waits_.finish(p.id, kAllOnes);
        return nullptr;
    }
    waits_.finish(p.id, tlp.size() == 4 ? tlp[3] : kAllOnes);
    if (tlp_type(tlp) != kCplD || tlp.size() != 4) return "a 4-byte read needs one DW";
    if ((tlp[1] & 0xFFF) != 4) return "byte count is not 4";
    if ((tlp[2] & 0x7F) != p.lower_address) return "wrong lower address";
    return nullptr;
}

std::string Cpu::state() const {
    size_t reads = reg_read_open_ ? 1 : 0;
    for (const Pending& pending : pending_) reads += pending.active ? 1 : 0;
    return "processors: " + std::to_string(queue_.size()) + " accesses wait, " + std::to_string(reads) +
           " are not answered" + (config_write_open_ ? ", a configuration write is open" : "") + "\n";
}

}  // namespace myr
