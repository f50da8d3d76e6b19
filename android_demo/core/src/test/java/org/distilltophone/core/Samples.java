package org.distilltophone.core;

import java.util.Random;

/** Random embeddings and hashes for tests. */
final class Samples {
    private Samples() {}

    static float[] unit(int dimension, Random random) {
        float[] out = new float[dimension];
        double square = 0;
        for (int d = 0; d < dimension; d++) {
            out[d] = (float) random.nextGaussian();
            square += out[d] * out[d];
        }
        for (int d = 0; d < dimension; d++) {
            out[d] /= (float) Math.sqrt(square);
        }
        return out;
    }

    static byte[] code(int dimension, Random random) {
        return Int8.quantize(unit(dimension, random));
    }

    /** Returns a hash of one digit, repeated. */
    static String sha256(String digit) {
        StringBuilder hash = new StringBuilder();
        for (int i = 0; i < 64; i++) {
            hash.append(digit);
        }
        return hash.toString();
    }
}
