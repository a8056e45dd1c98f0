/*
 * host.c: the table of services that plugins see, and the two areas that are only a few lines:
 * objects and machine facts.
 */
#include "runtime.h"

#include <string.h>

static uintptr_t this_thread(void)
{
    static _Thread_local char here; /* never written: its address names the thread */
    return (uintptr_t)&here;
}

void object_enter(struct object *o)
{
    pthread_mutex_lock(&o->lock);
    atomic_store_explicit(&o->rt->holder, this_thread(), memory_order_relaxed);
}

void object_leave(struct object *o)
{
    atomic_store_explicit(&o->rt->holder, 0, memory_order_relaxed);
    pthread_mutex_unlock(&o->lock);
}

void object_check(struct object *o, const char *function)
{
    uintptr_t holder = atomic_load_explicit(&o->rt->holder, memory_order_relaxed);
    if (holder != this_thread() && !object_parallel(o))
        mobo_log(&o->pub, MOBO_WARN, "%s is [locked], but was called without the object's lock",
                 function);
}

/* ---- objects --------------------------------------------------------------------------------- */

static struct object *object_behind(void *self)
{
    return object_of(*(mobo_obj_t **)self);
}

static void obj_enter(void *self)
{
    struct object *o = object_behind(self);
    if (!object_parallel(o))
        object_enter(o);
}

static void obj_leave(void *self)
{
    struct object *o = object_behind(self);
    if (!object_parallel(o))
        object_leave(o);
}

static void *obj_child(mobo_obj_t *bus, mobo_obj_t *dev)
{
    struct object *d = object_of(dev);
    return d->bus == object_of(bus) ? d->child : NULL;
}

static void *obj_self(mobo_obj_t *obj)
{
    return object_of(obj)->self;
}

static const mobo_obj_api_t obj_api = {
    .size = sizeof obj_api,
    .enter = obj_enter,
    .leave = obj_leave,
    .child = obj_child,
    .self = obj_self,
};

/* ---- the machine ----------------------------------------------------------------------------- */

static void vm_info(mobo_obj_t *obj, mobo_vm_info_t *info)
{
    const struct machine *m = object_of(obj)->machine;
    mobo_vm_info_t facts = {
        .size = info->size,
        .arch = m->set.arch + MOBO_ARCH_X86_64,
        .vcpus = m->set.cpus,
        .memory = m->set.memory,
    };
    memcpy(info, &facts, info->size < sizeof facts ? info->size : sizeof facts);
}

static void vm_request(mobo_obj_t *obj, uint32_t what)
{
    if (what >= MOBO_VM_RESET && what <= MOBO_VM_FAIL)
        control_request(runtime_of(object_of(obj)), what);
    else
        mobo_log(obj, MOBO_WARN, "%u is no request to the machine", what);
}

static int vm_vcpu_get(mobo_obj_t *obj, uint32_t index, uint32_t block, void *buf, uint32_t len)
{
    struct runtime *rt = runtime_of(object_of(obj));
    if (index >= rt->m->set.cpus)
        return MOBO_ENOENT;
    if (!rt->control.resetting)
        return MOBO_EBUSY;
    return rt->accel.get ? rt->accel.get(rt->vcpus[index].handle, block, buf, len) : MOBO_ENOTSUP;
}

static int vm_vcpu_set(mobo_obj_t *obj, uint32_t index, uint32_t block, const void *buf,
                       uint32_t len)
{
    struct runtime *rt = runtime_of(object_of(obj));
    if (index >= rt->m->set.cpus)
        return MOBO_ENOENT;
    if (!rt->control.resetting)
        return MOBO_EBUSY;
    return rt->accel.set ? rt->accel.set(rt->vcpus[index].handle, block, buf, len) : MOBO_ENOTSUP;
}

const mobo_vm_api_t vm_api = {
    .size = sizeof vm_api,
    .info = vm_info,
    .request = vm_request,
    .vcpu_get = vm_vcpu_get,
    .vcpu_set = vm_vcpu_set,
};

/* Areas of later releases; there is none yet. */
static const void *host_query(const char *id)
{
    (void)id;
    return NULL;
}

const mobo_host_t host_services = {
    .size = sizeof host_services,
    .abi_minor = MOBO_ABI_MINOR,
    .version = MOBO_VERSION,
    .log = &log_api,
    .mem = &mem_api,
    .time = &time_api,
    .task = &task_api,
    .irq = &irq_api,
    .vm = &vm_api,
    .fw = &fw_api,
    .obj = &obj_api,
    .query = host_query,
};
