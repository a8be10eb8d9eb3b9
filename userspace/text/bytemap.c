// SPDX-License-Identifier: MIT
/*
 * The map of byte-level BPE: every byte is written as one printable character,
 * so that vocabularies are text.  Bytes 33-126, 161-172 and 174-255 stand for
 * themselves; the other 68, in increasing order, are U+0100 and up.
 */
#include "text_priv.h"

#define FIRST_MOVED 0x100

static bool stays(uint32_t byte)
{
	return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) ||
	       (byte >= 174 && byte <= 255);
}

/* The moved bytes are 0-32, 127-160 and 173. */
uint32_t text_bytemap_char(uint8_t byte)
{
	if (stays(byte))
		return byte;
	if (byte <= 32)
		return FIRST_MOVED + byte;
	if (byte <= 160)
		return FIRST_MOVED + 33u + (byte - 127u);
	return FIRST_MOVED + 67;
}

int text_bytemap_byte(uint32_t cp)
{
	if (cp < FIRST_MOVED)
		return stays(cp) ? (int)cp : -1;
	cp -= FIRST_MOVED;
	if (cp <= 32)
		return (int)cp;
	if (cp < 67)
		return (int)(cp - 33 + 127);
	return cp == 67 ? 173 : -1;
}

size_t text_bytemap_encode(const uint8_t *s, size_t len, uint8_t *out)
{
	size_t o = 0;

	for (size_t i = 0; i < len; i++)
		o += text_utf8_encode(text_bytemap_char(s[i]), out + o);
	return o;
}

/* What is no character of the map is kept as it is. */
size_t text_bytemap_decode(const uint8_t *s, size_t len, uint8_t *out)
{
	size_t i = 0, o = 0, n;
	bool valid;
	int byte;

	while (i < len) {
		n = text_utf8_step(s + i, len - i, &valid);
		if (!n)
			n = len - i;
		byte = valid ? text_bytemap_byte(text_utf8_decode(s + i, n))
			     : -1;
		if (byte >= 0) {
			out[o++] = (uint8_t)byte;
			i += n;
			continue;
		}
		while (n--)
			out[o++] = s[i++];
	}
	return o;
}
