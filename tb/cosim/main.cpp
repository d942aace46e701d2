// The simulator's main program: clock and time of `myr_top`, and cocotb where there is something for it to do.
//
// cocotb's own main calls into VPI about twenty times per clock edge. Here Python sleeps until `wake` changes or a
// timer of its own ends, and nothing of VPI is called in between: Python must wait for nothing else of this model.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "Vtop.h"
#include "host.h"
#include "stillness.h"
#include "verilated.h"
#include "verilated_vpi.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
#endif
#if VM_COVERAGE
#include "verilated_cov.h"
#endif

extern "C" void vlog_startup_routines_bootstrap();

namespace {

constexpr uint64_t kHalfPeriod = 2000;  // time steps of 1 ps

uint64_t now = 0;

void settle() {
    while (VerilatedVpi::callValueCbs()) {
    }
}

// The regions of one time step (IEEE 1800-2012 4.4) with every callback that is due in them.
void callbacks(Vtop& top) {
    for (;;) {
        VerilatedVpi::clearEvalNeeded();
        VerilatedVpi::doInertialPuts();
        settle();
        if (!VerilatedVpi::evalNeeded()) {
            VerilatedVpi::callCbs(cbReadWriteSynch);
            VerilatedVpi::doInertialPuts();
            settle();
            if (!VerilatedVpi::evalNeeded()) break;
        }
        top.eval();
    }
    VerilatedVpi::callCbs(cbReadOnlySynch);
}

// Callbacks that only Python registers, when it runs: none is pending after a calm step until Python runs again.
bool calm() {
    return !VerilatedVpi::hasCbs(cbReadWriteSynch) && !VerilatedVpi::hasCbs(cbReadOnlySynch) &&
           !VerilatedVpi::hasCbs(cbNextSimTime);
}

#if VM_TRACE_FST
// An FST of a part of the run.
class Waves {
  public:
    Waves(Vtop& top, const char* file, uint64_t from, uint64_t to) : from_(from), to_(to) {
        top.trace(&fst_, 99);
        fst_.open(file);
    }
    void dump(uint64_t time) {
        if (time >= from_ && time < to_) fst_.dump(time);
    }
    void close() { fst_.close(); }
    // When the part begins, if that is to come.
    uint64_t begins(uint64_t time) const { return time < from_ ? from_ : UINT64_MAX; }

  private:
    VerilatedFstC fst_;
    uint64_t from_;
    uint64_t to_;
};

// `--trace --trace-file FILE`, as cocotb's main takes them; `--trace-from PS --trace-to PS`: only from there to there.
std::unique_ptr<Waves> waves(Vtop& top, int argc, char** argv) {
    const char* file = "dump.fst";
    bool wanted = false;
    uint64_t from = 0;
    uint64_t to = UINT64_MAX;
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "--trace") == 0) wanted = true;
        if (std::strcmp(argv[i], "--trace-file") == 0 && i + 1 < argc) file = argv[++i];
        if (std::strcmp(argv[i], "--trace-from") == 0 && i + 1 < argc) from = std::strtoull(argv[++i], nullptr, 10);
        if (std::strcmp(argv[i], "--trace-to") == 0 && i + 1 < argc) to = std::strtoull(argv[++i], nullptr, 10);
    }
    Verilated::traceEverOn(true);
    if (!wanted) return nullptr;
    return std::make_unique<Waves>(top, file, from, to);
}
#else
struct Waves {
    void dump(uint64_t) {}
    void close() {}
    uint64_t begins(uint64_t) const { return UINT64_MAX; }
};

std::unique_ptr<Waves> waves(Vtop&, int, char**) { return nullptr; }
#endif

// Time steps of the cycles that went by beside the last edge's own.
uint64_t skipped() {
    const myr::Host* host = myr::attached();
    return host == nullptr ? 0 : host->skipped() * 2 * kHalfPeriod;
}

void finish(Waves* trace) {
    VerilatedVpi::callCbs(cbEndOfSimulation);
    if (trace != nullptr) trace->close();
#if VM_COVERAGE
    // coverage.dat in the run's folder, as cocotb's main does
    VerilatedCov::write();
#endif
}

void run(Vtop& top, Waves* trace) {
    myr::Stillness stillness(top);
    uint64_t edge = kHalfPeriod;
    bool quiet = false;
    uint8_t seen = 0;
    uint64_t deadline = 0;
    while (!Verilated::gotFinish()) {
        top.eval();
        if (!quiet || top.wake_o != seen) {
            callbacks(top);
            seen = top.wake_o;
            quiet = calm();
            deadline = VerilatedVpi::cbNextDeadline();
        }
        if (trace != nullptr) trace->dump(now);
        if (top.clk_i && now + kHalfPeriod == edge) {
            edge += skipped();
            const uint64_t until = trace == nullptr ? deadline : std::min(deadline, trace->begins(now));
            if (quiet && edge < until) stillness.look((until - edge) / (2 * kHalfPeriod));
        }
        now = std::min(edge, deadline);
        if (!quiet || now == deadline) {
            VerilatedVpi::callCbs(cbNextSimTime);
            settle();
            VerilatedVpi::callTimedCbs();
            settle();
            quiet = false;
        }
        if (now == edge) {
            top.clk_i = !top.clk_i;
            edge += kHalfPeriod;
        }
    }
}

}  // namespace

double sc_time_stamp() { return static_cast<double>(now); }

int main(int argc, char** argv) {
    Verilated::commandArgs(argc, argv);
    auto top = std::make_unique<Vtop>("");
    Verilated::fatalOnVpiError(false);
    const std::unique_ptr<Waves> trace = waves(*top, argc, argv);
    vlog_startup_routines_bootstrap();
    // a fatal error ends the process
    Verilated::addExitCb([](void* traced) { finish(static_cast<Waves*>(traced)); }, trace.get());
    VerilatedVpi::callCbs(cbStartOfSimulation);
    settle();
    run(*top, trace.get());
    top->final();
    finish(trace.get());
    return Verilated::threadContextp()->errorCount() > 0 ? 1 : 0;
}
