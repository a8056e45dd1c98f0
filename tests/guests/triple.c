/* triple.c: a fault that cannot be delivered, nor the double fault after it: the machine crashes.
 */
#include "guest.h"

static void t_triple_fault(void)
{
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) none = { 0, 0 };
    __asm__ volatile("lidt %0\n\tint3" : : "m"(none) : "memory");
    test_fail(__LINE__, "the guest goes on after a triple fault");
}

const struct test tests[] = {
    { "triple-fault", t_triple_fault },
    { 0 },
};
