/*
 * transport_mmio.c: virtio over memory-mapped registers (virtio 1.2, 4.2), version 2 only. The
 * legacy layout (4.2.4) is not there: no supported guest needs it.
 */
#include <mobo/firmware.h>

#include "virtio.h"

/* 4.2.2, table 4.1. */
enum {
    MagicValue = 0x000,
    Version = 0x004,
    DeviceID = 0x008,
    VendorID = 0x00c,
    DeviceFeatures = 0x010,
    DeviceFeaturesSel = 0x014,
    DriverFeatures = 0x020,
    DriverFeaturesSel = 0x024,
    QueueSel = 0x030,
    QueueNumMax = 0x034,
    QueueNum = 0x038,
    QueueReady = 0x044,
    QueueNotify = 0x050,
    InterruptStatus = 0x060,
    InterruptACK = 0x064,
    Status = 0x070,
    QueueDescLow = 0x080,
    QueueDescHigh = 0x084,
    QueueDriverLow = 0x090,
    QueueDriverHigh = 0x094,
    QueueDeviceLow = 0x0a0,
    QueueDeviceHigh = 0x0a4,
    SHMSel = 0x0ac,
    SHMLenLow = 0x0b0,
    SHMLenHigh = 0x0b4,
    SHMBaseLow = 0x0b8,
    SHMBaseHigh = 0x0bc,
    QueueReset = 0x0c0,
    ConfigGeneration = 0x0fc,
    Config = 0x100,
    WINDOW = 0x200,
};

enum { VENDOR = 0x6f626f6d }; /* "mobo" */

static void mmio_wire(struct virtio *v)
{
    const struct virtio_head *head = virtio_self(v);
    mobo_irq_set(head->irq, v->mmio.interrupt_status != 0);
}

static void mmio_interrupt(struct virtio *v, uint32_t what, unsigned queue)
{
    (void)queue;
    v->mmio.interrupt_status |= what;
    mmio_wire(v);
}

static void mmio_reset(struct virtio *v)
{
    memset(&v->mmio, 0, sizeof v->mmio);
    mmio_wire(v);
}

static uint32_t queue_read(const struct virtio *v, uint64_t off)
{
    if (v->mmio.queue_sel >= VIRTIO_QUEUES)
        return 0; /* QueueNumMax 0: not available (4.2.2) */
    const struct virtio_queue *q = &v->queue[v->mmio.queue_sel];
    if (off == QueueNumMax)
        return q->size_max;
    return q->vq.live; /* QueueReady */
}

static uint64_t mmio_read(void *self, uint64_t off, unsigned bytes)
{
    const struct virtio *v = &((struct virtio_head *)self)->v;
    if (off >= Config)
        return virtio_config_read(v, off - Config, bytes);
    if (bytes != 4 || off % 4)
        return 0; /* 4.2.2.2: the driver must use 32 bits, aligned */
    switch (off) {
    case MagicValue:
        return 0x74726976; /* "virt" */
    case Version:
        return 2;
    case DeviceID:
        return v->ops->id;
    case VendorID:
        return VENDOR;
    case DeviceFeatures:
        return v->mmio.features_sel > 1 ? 0
                                        : (uint32_t)(v->features >> (32 * v->mmio.features_sel));
    case QueueNumMax:
    case QueueReady:
        return queue_read(v, off);
    case InterruptStatus:
        return v->mmio.interrupt_status;
    case Status:
        return v->status;
    case SHMLenLow:
    case SHMLenHigh:
    case SHMBaseLow:
    case SHMBaseHigh:
        return UINT32_MAX; /* 4.2.2: all ones: there is no shared memory region */
    case ConfigGeneration:
        return v->generation;
    default:
        return 0;
    }
}

static void set_low(uint64_t *addr, uint32_t val)
{
    *addr = (*addr & ~UINT64_C(0xffffffff)) | val;
}

static void set_high(uint64_t *addr, uint32_t val)
{
    *addr = (*addr & UINT64_C(0xffffffff)) | (uint64_t)val << 32;
}

static void ready_write(struct virtio *v, uint32_t val)
{
    if (val != 1 && val != 0)
        return;
    if (val == 0) {
        if (v->mmio.queue_sel < VIRTIO_QUEUES)
            virtio_queue_disable(v, &v->queue[v->mmio.queue_sel]);
        return;
    }
    struct virtio_queue *q = virtio_queue_setup(v, v->mmio.queue_sel);
    if (q)
        virtio_queue_enable(v, q);
}

static void queue_write(struct virtio *v, uint64_t off, uint32_t val)
{
    struct virtio_queue *q = virtio_queue_setup(v, v->mmio.queue_sel);
    if (!q)
        return;
    switch (off) {
    case QueueNum:
        /* What does not fit is kept as a size that no enable accepts. */
        q->size = val > UINT16_MAX ? UINT16_MAX : (uint16_t)val;
        break;
    case QueueDescLow:
        set_low(&q->desc, val);
        break;
    case QueueDescHigh:
        set_high(&q->desc, val);
        break;
    case QueueDriverLow:
        set_low(&q->avail, val);
        break;
    case QueueDriverHigh:
        set_high(&q->avail, val);
        break;
    case QueueDeviceLow:
        set_low(&q->used, val);
        break;
    case QueueDeviceHigh:
        set_high(&q->used, val);
        break;
    default:
        break;
    }
}

static void mmio_write(void *self, uint64_t off, uint64_t wide, unsigned bytes)
{
    struct virtio *v = &((struct virtio_head *)self)->v;
    uint32_t val = (uint32_t)wide;
    if (off >= Config) {
        virtio_config_write(v, off - Config, wide, bytes);
        return;
    }
    if (bytes != 4 || off % 4)
        return;
    switch (off) {
    case DeviceFeaturesSel:
        v->mmio.features_sel = val;
        break;
    case DriverFeaturesSel:
        v->mmio.driver_features_sel = val;
        break;
    case DriverFeatures:
        virtio_features_write(v, v->mmio.driver_features_sel, val);
        break;
    case QueueSel:
        v->mmio.queue_sel = val;
        break;
    case QueueReady:
        ready_write(v, val);
        break;
    case QueueNotify:
        /* The doorbells take the queues that exist; this is where they do not, or no doorbell. */
        if (val < VIRTIO_QUEUES && v->queue[val].size_max)
            virtio_queue_post(v, val);
        break;
    case InterruptACK:
        v->mmio.interrupt_status &= ~val;
        mmio_wire(v);
        break;
    case Status:
        virtio_status_write(v, val);
        break;
    case SHMSel:
        v->mmio.shm_sel = val;
        break;
    case QueueNum:
    case QueueDescLow:
    case QueueDescHigh:
    case QueueDriverLow:
    case QueueDriverHigh:
    case QueueDeviceLow:
    case QueueDeviceHigh:
        queue_write(v, off, val);
        break;
    default:
        break; /* read-only or reserved; QueueReset without RING_RESET (4.2.2.1) */
    }
}

static const mobo_region_t registers = {
    .size = sizeof registers, .name = "virtio-mmio", .length = WINDOW,
    .min_access = 1, .max_access = 4, .read = mmio_read, .write = mmio_write,
};

static const virtio_transport_t transport = { .interrupt = mmio_interrupt, .reset = mmio_reset };

int virtio_mmio_attach(struct virtio_head *head)
{
    struct virtio *v = &head->v;
    uint32_t handle = 0;
    v->transport = &transport;
    int rc = mobo_mmio_attach(head->bus, head->obj, .region = &registers, .irq = &head->irq,
                              .irq_count = 1, .irq_flags = MOBO_IRQ_LEVEL,
                              .fdt_compatible = "virtio,mmio", .acpi_hid = "LNRO0005",
                              .handle = &handle);
    const mobo_task_api_t *task = head->obj->host->task;
    for (unsigned i = 0; rc == 0 && i < VIRTIO_QUEUES; i++)
        if (v->queue[i].size_max)
            rc = task->doorbell(head->obj, handle, QueueNotify, 4, i, 0, virtio_queue_kicked,
                                &v->queue[i]);
    return rc;
}

int virtio_mmio_loaded(struct virtio_head *head)
{
    int rc = virtio_loaded(&head->v);
    if (rc == 0)
        mmio_wire(&head->v);
    return rc;
}
