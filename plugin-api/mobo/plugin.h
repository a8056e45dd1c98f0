/*
 * mobo/plugin.h: all a device plugin needs. Buses and backends have headers of their own
 * (mobo/bus.h, mobo/block.h, mobo/char.h, ...), accelerators mobo/accel.h.
 *
 * A plugin is a shared object with one exported function, mobo_plugin_v1(), which MOBO_PLUGIN()
 * writes. It registers classes; each section of a machine's INI file is an object of a class. The
 * address of a device is not its own business: `at`, `io` and the like are keys of the bus.
 *
 * The threading rule:
 *   1. The core calls one object at a time. Every callback marked [locked] holds your object's
 *      lock; never lock your own fields.
 *   2. You may call along your links. Links point down (device -> bus, irq, backend) and never form
 *      a circle, so the locks cannot either.
 *   3. Nothing calls you back before you return. Completions, packets, timers and files arrive
 *      later as fresh [locked] calls.
 *   4. Never wait. [any] functions (log, dma, irq, msi, post, now, done) never block; slow work
 *      goes to mobo_work().
 * The opt-out is the class flag MOBO_PARALLEL: regions, doorbells and interfaces of such an object
 * are called without its lock, and the author locks.
 *
 * Everything obtained through the core (regions, timers, watches, doorbells, wires, memory) is
 * released by the core. `fini` frees what the plugin got elsewhere; it always runs, and the instance
 * starts as zeros, so `init` needs no clean-up path.
 */
#ifndef MOBO_PLUGIN_H
#define MOBO_PLUGIN_H

#include <mobo/base.h>
#include <mobo/class.h>
#include <mobo/host.h>
#include <mobo/bus.h>
#include <mobo/firmware.h>

#endif
