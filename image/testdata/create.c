/*
 * Creates a domain under a given domain id, which xl cannot: the toolstack's
 * library can (libxl_domain_create_info.domid). The configuration is what
 * `xl -N create FILE` prints, on standard input.
 */
#include <stdio.h>
#include <stdlib.h>

#include <libxl.h>
#include <xentoollog.h>

int main(int argc, char **argv)
{
    static char json[1 << 20];
    xentoollog_logger_stdiostream *log;
    libxl_domain_config config;
    libxl_ctx *ctx = NULL;
    uint32_t domid = 0;
    size_t n;

    if (argc != 2) {
        fprintf(stderr, "usage: create DOMID <CONFIG.json\n");
        return 2;
    }
    n = fread(json, 1, sizeof(json) - 1, stdin);
    json[n] = 0;
    log = xtl_createlogger_stdiostream(stderr, XTL_WARN, 0);
    if (libxl_ctx_alloc(&ctx, LIBXL_VERSION, 0, (xentoollog_logger *)log)) {
        fprintf(stderr, "create: no libxl\n");
        return 1;
    }
    libxl_domain_config_init(&config);
    if (libxl_domain_config_from_json(ctx, &config, json)) {
        fprintf(stderr, "create: not a configuration\n");
        return 1;
    }
    config.c_info.domid = atoi(argv[1]);
    if (libxl_domain_create_new(ctx, &config, &domid, NULL, NULL) ||
        libxl_domain_unpause(ctx, domid, NULL)) {
        fprintf(stderr, "create: failed\n");
        return 1;
    }
    printf("%u\n", domid);
    libxl_domain_config_dispose(&config);
    libxl_ctx_free(ctx);
    return 0;
}
