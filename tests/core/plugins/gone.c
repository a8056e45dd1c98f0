/*
 * gone: a library that bad-depends needs and does not find.
 */
int gone(void);
int gone(void)
{
    return 0;
}
