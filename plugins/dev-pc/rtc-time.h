/* rtc-time.h: seconds since 1970 and back, for the clock chip. */
#ifndef RTC_TIME_H
#define RTC_TIME_H

#include <stdint.h>

struct rtc_time {
    int64_t year;  /* 1970 ... */
    uint32_t month, day; /* from 1 */
    uint32_t hour, minute, second;
    uint32_t weekday;    /* 1: Sunday, as the chip counts */
};

int64_t rtc_seconds(const struct rtc_time *t); /* out-of-range fields carry over */
void rtc_split(int64_t seconds, struct rtc_time *t);
/* "2026-01-31" or "2026-01-31T12:34:56"; 0, or -1 if TEXT is neither. */
int rtc_parse(const char *text, int64_t *seconds);
/* How far the host's local time is ahead of UTC, in seconds. */
int64_t rtc_local_offset(int64_t now);

#endif
