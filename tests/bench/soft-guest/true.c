/* true.c: the smallest program; built static and dynamic, it is what the exec tests start. */
int main(void)
{
    return 0;
}
