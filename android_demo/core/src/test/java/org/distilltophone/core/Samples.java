package org.distilltophone.core;

import java.util.Random;

/** Random embeddings and models for tests. */
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

    static GalleryModel model(String digit) {
        Preprocessing preprocessing = new Preprocessing(4, 5, new double[] {128, 128, 128}, new double[] {128, 128, 128});
        StringBuilder hash = new StringBuilder();
        for (int i = 0; i < 64; i++) {
            hash.append(digit);
        }
        return new GalleryModel("a model", "tflite-int8", hash.toString(), "source", null, preprocessing);
    }
}
