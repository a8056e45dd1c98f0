/*
 * rtc-time.c: calendar arithmetic of the proleptic Gregorian calendar. The C library's mktime and
 * timegm are not used: one depends on the environment, the other does not exist everywhere.
 */
#include "rtc-time.h"

#include <stdio.h>
#include <time.h>

/* Days from 1970-01-01 to the first of March of Y (years start in March: leap day last). */
static int64_t days_to_march(int64_t y)
{
    int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 - 719468;
}

/* Days before month M of a year that starts in March (0: March). */
static int64_t days_before(int64_t m)
{
    return (153 * m + 2) / 5;
}

int64_t rtc_seconds(const struct rtc_time *t)
{
    int64_t y = t->month > 2 ? t->year : t->year - 1;
    int64_t m = t->month > 2 ? (int64_t)t->month - 3 : (int64_t)t->month + 9;
    int64_t days = days_to_march(y) + days_before(m) + (int64_t)t->day - 1;
    return days * 86400 + (int64_t)t->hour * 3600 + (int64_t)t->minute * 60 + t->second;
}

void rtc_split(int64_t seconds, struct rtc_time *t)
{
    int64_t days = seconds / 86400, rest = seconds % 86400;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), m = (5 * doy + 2) / 153;
    t->day = (uint32_t)(doy - days_before(m) + 1);
    t->month = (uint32_t)(m < 10 ? m + 3 : m - 9);
    t->year = yoe + era * 400 + (t->month <= 2);
    t->hour = (uint32_t)(rest / 3600);
    t->minute = (uint32_t)(rest / 60 % 60);
    t->second = (uint32_t)(rest % 60);
    t->weekday = (uint32_t)(((days + 4) % 7 + 7) % 7 + 1); /* 1970-01-01 was a Thursday */
}

int rtc_parse(const char *text, int64_t *seconds)
{
    unsigned year, month, day, hour = 0, minute = 0, second = 0;
    int end = 0;
    if (sscanf(text, "%4u-%2u-%2u%n", &year, &month, &day, &end) != 3)
        return -1;
    if (text[end]) {
        int more = 0;
        if (sscanf(text + end, "T%2u:%2u:%2u%n", &hour, &minute, &second, &more) != 3 ||
            text[end + more])
            return -1;
    }
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 ||
        minute > 59 || second > 59)
        return -1;
    const struct rtc_time t = { year, month, day, hour, minute, second, 0 };
    struct rtc_time back;
    *seconds = rtc_seconds(&t);
    rtc_split(*seconds, &back);
    return back.day == day ? 0 : -1; /* 31 April */
}

int64_t rtc_local_offset(int64_t now)
{
    time_t clock = (time_t)now;
    const struct tm *tm = localtime(&clock); /* once, at start, before there are other threads */
    if (!tm)
        return 0;
    const struct rtc_time t = { tm->tm_year + 1900, (uint32_t)tm->tm_mon + 1, (uint32_t)tm->tm_mday,
                                (uint32_t)tm->tm_hour, (uint32_t)tm->tm_min, (uint32_t)tm->tm_sec,
                                0 };
    return rtc_seconds(&t) - now;
}
