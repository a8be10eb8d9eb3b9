/* SPDX-License-Identifier: MIT */
/*
 * The entry that libFuzzer calls; fuzz_replay.c calls it for files.
 */
#ifndef PST_FUZZ_H
#define PST_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/**
 * LLVMFuzzerTestOneInput() - one input
 * @data: [size]
 *
 * Return: 0; a fault is a crash.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
