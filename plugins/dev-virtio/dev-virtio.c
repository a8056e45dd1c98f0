/*
 * dev-virtio.c: the classes of the plugin dev-virtio.
 */
#include "classes.h"

MOBO_PLUGIN("dev-virtio", "0.1.0", "MIT", &virtio_blk_class, &virtio_rng_class,
            &virtio_console_class)
