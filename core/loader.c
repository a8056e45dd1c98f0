/*
 * loader.c: the only file that knows libltdl. It loads one checked plugin: our own loader in place
 * of libltdl's (which load lazily and lose the reason of an error), then the entry function.
 *
 * Nothing is ever unmapped (RTLD_NODELETE): thread-local keys and exit handlers of unloaded code
 * crash at exit. So tables and descriptors stay valid to the end of the process.
 */
#include "front.h"

#include <dlfcn.h>
#include <ltdl.h>
#include <libltdl/lt_dlloader.h>
#include <stdlib.h>
#include <unistd.h>

static lt_module module_open(lt_user_data data, const char *path, lt_dladvise advise)
{
    struct registry *r = data;
    (void)advise;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const char *text = handle ? "" : dlerror();
    (void)snprintf(r->dl_error, sizeof r->dl_error, "%s", text ? text : "unknown error");
    return handle;
}

static int module_close(lt_user_data data, lt_module module)
{
    (void)data;
    return dlclose(module) != 0;
}

static void *find_symbol(lt_user_data data, lt_module module, const char *name)
{
    (void)data;
    return dlsym(module, name);
}

static bool loader_ready(struct registry *r)
{
    if (r->ready)
        return true;
    if (lt_dlinit() != 0)
        return false;
    lt_dlvtable *table = calloc(1, sizeof *table); /* on the heap: lt_dlexit() frees it */
    if (!table)
        return false;
    *table = (lt_dlvtable){
        .name = "mobo",
        .module_open = module_open,
        .module_close = module_close,
        .find_sym = find_symbol,
        .dlloader_data = r,
        .priority = LT_DLLOADER_PREPEND,
    };
    if (lt_dlloader_add(table) != 0)
        return false;
    /* Otherwise they try again, lazily, and overwrite the message. Removed tables are the caller's.
     */
    free(lt_dlloader_remove("lt_dlopen"));
    free(lt_dlloader_remove("lt_preopen"));
    r->ready = true;
    return true;
}

/* dlerror() names the file as /proc/self/fd/N; the caller names it properly. */
static const char *reason(const struct registry *r, const char *opened)
{
    size_t len = strlen(opened);
    const char *text = r->dl_error;
    if (strncmp(text, opened, len) == 0 && strncmp(text + len, ": ", 2) == 0)
        text += len + 2;
    return text;
}

static bool find_entry(lt_dlhandle handle, mobo_plugin_entry_t *entry, char why[MESSAGE_MAX])
{
    void *symbol = lt_dlsym(handle, "mobo_plugin_v1");
    _Static_assert(sizeof symbol == sizeof *entry, "POSIX: functions fit a void pointer");
    if (symbol) {
        memcpy(entry, &symbol, sizeof symbol);
        return true;
    }
    char other[] = "mobo_plugin_v2";
    for (char major = '2'; major <= '9'; major++) {
        other[sizeof other - 2] = major;
        if (lt_dlsym(handle, other)) {
            message(why, "is built for ABI %c, this mobo speaks %d", major, MOBO_ABI_MAJOR);
            return false;
        }
    }
    message(why, "has no function mobo_plugin_v1: it is no mobo plugin");
    return false;
}

bool plugin_load(struct registry *r, struct module *m, char why[MESSAGE_MAX])
{
    char opened[64];
    mobo_plugin_entry_t entry;
    if (!loader_ready(r)) {
        message(why, "libltdl does not start: %s", lt_dlerror());
        return false;
    }
    /*
     * By the descriptor that was checked. It stays open for good: the dynamic linker tells files
     * apart by this name first, so a number used again would mean the old plugin.
     */
    (void)snprintf(opened, sizeof opened, "/proc/self/fd/%d", m->fd);
    lt_dlhandle handle = lt_dlopen(opened);
    if (!handle) {
        message(why, "%s", reason(r, opened));
        return false;
    }
    if (!find_entry(handle, &entry, why))
        return false;
    const mobo_plugin_t *desc = entry();
    if (!desc || entry() != desc) {
        message(why, desc ? "mobo_plugin_v1 answers differently each time"
                          : "mobo_plugin_v1 answers NULL");
        return false;
    }
    m->plugin.desc = desc;
    return plugin_verify(desc, m->plugin.name, why);
}

void registry_free(struct registry *r)
{
    if (r && r->ready)
        (void)lt_dlexit();
}
