// SPDX-License-Identifier: MIT
/*
 * Reading files and token lists, writing JSON strings.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* No context holds as many tokens; /dev/zero has more. */
#define TEXT_MAX_BYTES (256 * PST_MIB)

int cli_read_all(const char *path, char **out, size_t *len)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "re") : stdin;
	size_t cap = 65536, n = 0;
	char *buf = f ? malloc(cap + 1) : NULL;
	int rc = 0;

	if (!f)
		return -errno;
	while (buf && !rc) {
		size_t got = fread(buf + n, 1, cap - n, f);
		char *bigger;

		n += got;
		if (!got)
			break;
		if (n < cap)
			continue;
		if (cap > TEXT_MAX_BYTES) {
			rc = -EFBIG;
			break;
		}
		bigger = realloc(buf, cap * 2 + 1);
		if (!bigger)
			rc = -ENOMEM;
		else
			buf = bigger;
		cap *= 2;
	}
	if (!buf)
		rc = -ENOMEM;
	else if (ferror(f))
		rc = errno ? -errno : -EIO;
	if (f != stdin)
		fclose(f);
	if (rc) {
		free(buf);
		return rc;
	}
	buf[n] = 0;
	*out = buf;
	*len = n;
	return 0;
}

/* Says why a text could not be read; the exit code for it. */
static int text_failed(const char *path, int err)
{
	if (err == -EFBIG)
		cli_error("%s: more than %d MiB of text", path,
			  (int)(TEXT_MAX_BYTES / PST_MIB));
	else
		cli_error("%s: %s", path, strerror(-err));
	switch (err) {
	case -ENOENT:
	case -EISDIR:
		return EXIT_NO_MODEL;
	case -EACCES:
		return EXIT_PERM;
	case -EFBIG:
		return EXIT_DATA;
	case -EIO:
		return EXIT_DRIVE;
	default:
		return EXIT_OS;
	}
}

int cli_read_input(struct cli_opts *o, char **text, size_t *len)
{
	const char *path = o->file ? o->file : "-";
	int rc = cli_read_all(path, text, len);

	if (!rc) {
		o->engine.extra_bytes = CLI_TEXT_BYTES * *len;
		return EXIT_OK;
	}
	return text_failed(o->file ? path : "stdin", rc);
}

/* Length of a valid UTF-8 sequence at @s, 0 when it is none. */
static size_t utf8_len(const unsigned char *s, size_t left)
{
	size_t n = *s < 0x80 ? 1 : *s >= 0xf0 ? 4 : *s >= 0xe0 ? 3 : 2;
	uint32_t cp = n == 1 ? *s : *s & (0xffu >> (n + 1));

	if (n == 1)
		return 1;
	if (*s < 0xc2 || *s > 0xf4 || left < n)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		cp = cp << 6 | (s[i] & 0x3f);
	}
	if ((n == 3 && cp < 0x800) || (n == 4 && cp < 0x10000) ||
	    cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
		return 0;
	return n;
}

static uint32_t code_point(const unsigned char *s, size_t n)
{
	uint32_t cp = n == 1 ? *s : *s & (0xffu >> (n + 1));

	for (size_t i = 1; i < n; i++)
		cp = cp << 6 | (s[i] & 0x3f);
	return cp;
}

/* C0, DEL and C1 controls, line separators, and what turns text around. */
static bool steers_terminal(const unsigned char *s, size_t n)
{
	uint32_t cp = code_point(s, n);

	return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x200e ||
	       cp == 0x200f || (cp >= 0x2028 && cp <= 0x202e) ||
	       (cp >= 0x2066 && cp <= 0x2069) || cp == 0xfeff;
}

void cli_print_text(FILE *f, const char *s, size_t len, size_t max_chars)
{
	const unsigned char *p = (const unsigned char *)s;

	for (size_t i = 0, chars = 0; i < len; chars++) {
		size_t n = utf8_len(p + i, len - i);

		if (chars == max_chars) {
			fputs("...", f);
			return;
		}
		if (!n)
			fputs("\xef\xbf\xbd", f);
		else if (p[i] == '\n' || p[i] == '\t')
			fputs(p[i] == '\n' ? "\\n" : "\\t", f);
		else if (steers_terminal(p + i, n))
			fprintf(f, "\\u%04x", code_point(p + i, n));
		else
			fwrite(p + i, 1, n, f);
		i += n ? n : 1;
	}
}

void cli_csv_string(FILE *f, const char *s, size_t len)
{
	fputc('"', f);
	while (len) {
		const char *quote = memchr(s, '"', len);
		size_t n = quote ? (size_t)(quote - s) : len;

		cli_print_text(f, s, n, SIZE_MAX);
		if (quote)
			fputs("\"\"", f);
		s += n + !!quote;
		len -= n + !!quote;
	}
	fputc('"', f);
}

void cli_json_string(FILE *f, const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;

	fputc('"', f);
	for (size_t i = 0; i < len;) {
		size_t n = utf8_len(p + i, len - i);

		if (!n) {
			fputs("\\ufffd", f);
			i++;
			continue;
		}
		if (p[i] == '"' || p[i] == '\\')
			fprintf(f, "\\%c", p[i]);
		else if (steers_terminal(p + i, n))
			fprintf(f, "\\u%04x", code_point(p + i, n));
		else
			fwrite(p + i, 1, n, f);
		i += n;
	}
	fputc('"', f);
}

int cli_tokens_parse(const char *text, int32_t **out, uint32_t *nr)
{
	size_t cap = strlen(text) / 2 + 2;
	int32_t *ids = pst_calloc(cap, sizeof(*ids));
	uint32_t n = 0;

	if (!ids)
		return -ENOMEM;
	text += strspn(text, " \t\r\n[");
	while (*text && *text != ']') {
		char *end;
		long v;

		errno = 0;
		v = strtol(text, &end, 10);
		if (end == text || errno || v < 0 || v > INT32_MAX || n == cap)
			goto bad;
		ids[n++] = (int32_t)v;
		text = end + strspn(end, " \t\r\n");
		if (*text == ',')
			text += 1 + strspn(text + 1, " \t\r\n");
		else if (*text && *text != ']')
			goto bad;
	}
	*out = ids;
	*nr = n;
	return 0;
bad:
	free(ids);
	return -EINVAL;
}

int cli_read_tokens(const char *path, int32_t **out, uint32_t *nr)
{
	char *text;
	size_t len;
	int rc = cli_read_all(path, &text, &len);

	if (rc)
		return text_failed(path, rc);
	rc = cli_tokens_parse(text, out, nr);
	free(text);
	if (!rc && *nr)
		return EXIT_OK;
	if (!rc)
		free(*out);
	if (rc == -ENOMEM)
		return cli_fail(rc, NULL);
	cli_error("%s: no list of non-negative numbers", path);
	return EXIT_USAGE;
}
