# The Perl loop of tests/bench/soft: words, a hash, a pattern, arithmetic.
use strict;
my (%count, $sum, $hits);
for my $i (1 .. 30000) {
    my $word = "w" . ($i * 7919 % 503);
    $count{$word}++;
    $hits++ if $word =~ /^w[13579]+$/;
    $sum += length($word) * $i % 17;
}
print join(" ", scalar(keys %count), $sum, $hits), "\n";
