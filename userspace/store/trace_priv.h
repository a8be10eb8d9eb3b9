/* SPDX-License-Identifier: MIT */
/*
 * Private to store/: the words of the trace's text form.
 */
#ifndef PST_TRACE_PRIV_H
#define PST_TRACE_PRIV_H

#define PST_TRACE_MAGIC	  "# penstock-route-trace "
#define PST_TRACE_COLUMNS "phase,token,layer,rank,expert,weight"
#define PST_TRACE_PROBS	  "# probs=log64"
/* Base64's: none of them means anything to CSV. */
#define PST_TRACE_DIGITS \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

#endif
