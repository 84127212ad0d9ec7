/* Pages of a file that is being written: filled, sealed in groups, and put where they belong. */
#include "runs/writer.h"

#include <errno.h>
#include <unistd.h>

static int write_bytes(int descriptor, const uint8_t *bytes, size_t size, uint64_t offset) {
    while (size > 0) {
        ssize_t done = pwrite(descriptor, bytes, size, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return done < 0 ? errno : EIO;
        bytes += done;
        offset += (uint64_t)done;
        size -= (size_t)done;
    }
    return CD_OK;
}

static int write_pages(cd_writer *writer) {
    int rc = cd_page_seal(writer->seal, writer->pages, writer->full);
    if (rc != 0) return rc;
    rc = write_bytes(writer->descriptor, writer->pages, writer->full * CD_RUN_PAGE_BYTES,
                     writer->number * CD_RUN_PAGE_BYTES);
    if (rc != 0) return rc;
    writer->number += writer->full;
    writer->full = 0;
    return CD_OK;
}

/* The page at hand is as full as it gets. */
static int finish_page(cd_writer *writer) {
    uint8_t *page = writer->pages + writer->full * CD_RUN_PAGE_BYTES;
    size_t end = CD_PAGE_HEAD + writer->len * CD_RUN_ENTRY_BYTES;
    memset(page + end, 0, CD_RUN_PAGE_BYTES - end);
    cd_page_set_head(page, writer->number + writer->full, writer->kind, writer->len);
    writer->len = 0;
    return ++writer->full < CD_PAGE_GROUP ? CD_OK : write_pages(writer);
}

void cd_writer_begin(cd_writer *writer, int descriptor, const cd_run_seal *seal) {
    writer->descriptor = descriptor;
    writer->seal = seal;
    writer->kind = CD_PAGE_DATA;
    writer->number = writer->fences_len = 0;
    writer->full = writer->len = 0;
}

int cd_writer_put(cd_writer *writer, const cd_entry *entries, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        if (writer->len == 0 && writer->kind == CD_PAGE_DATA)
            writer->fences[writer->fences_len++] = entries[i];
        cd_page_put(writer->pages + writer->full * CD_RUN_PAGE_BYTES, writer->len, &entries[i]);
        int rc = ++writer->len < CD_RUN_PAGE_ENTRIES ? CD_OK : finish_page(writer);
        if (rc != 0) return rc;
    }
    return CD_OK;
}

static int put_footer(cd_writer *writer, const cd_footer *footer) {
    uint8_t *body = writer->pages + writer->full * CD_RUN_PAGE_BYTES + CD_PAGE_HEAD;
    memcpy(body, CD_FOOTER_MAGIC, 8);
    cd_store32_le(body + 8, CD_FOOTER_VERSION);
    cd_store32_le(body + 12, (uint32_t)footer->pages);
    cd_store64_le(body + 16, footer->entries);
    cd_store64_le(body + 24, footer->first_place);
    cd_store64_le(body + 32, footer->last_place);
    memset(body + 40, 0, CD_PAGE_SEALED - CD_PAGE_HEAD - 40);
    cd_page_set_head(body - CD_PAGE_HEAD, writer->number + writer->full, CD_PAGE_FOOTER, 0);
    writer->full++;
    return write_pages(writer);
}

int cd_writer_finish(cd_writer *writer, const cd_footer *footer) {
    int rc = writer->len > 0 ? finish_page(writer) : CD_OK;
    writer->kind = CD_PAGE_FENCE;
    if (rc == 0) rc = cd_writer_put(writer, writer->fences, writer->fences_len);
    if (rc == 0 && writer->len > 0) rc = finish_page(writer);
    if (rc == 0) rc = put_footer(writer, footer);
    if (rc == 0 && fsync(writer->descriptor) != 0) rc = errno;
    return rc;
}
