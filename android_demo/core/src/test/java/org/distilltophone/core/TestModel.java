package org.distilltophone.core;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Random;

/** A bundle and an engine without TensorFlow: the embedding of an image depends on its first eight bytes. */
final class TestModel {
    static final int DIMENSION = 24;
    static final int SIDE = 4;

    private TestModel() {}

    static byte[] pixels(long number) {
        byte[] out = new byte[SIDE * SIDE * 3];
        ByteBuffer.wrap(out).putLong(number);
        return out;
    }

    static float[] embedding(long number) {
        return Samples.unit(DIMENSION, new Random(number));
    }

    static Embedder embedder() throws IOException {
        return new Embedder(bundle(), new Engine() {
            @Override
            public void run(ByteBuffer input, ByteBuffer output) {
                byte[] first = new byte[8];
                for (int i = 0; i < 8; i++) {
                    first[i] = (byte) (input.get(i) ^ 128);
                }
                float[] embedding = embedding(ByteBuffer.wrap(first).getLong());
                for (int d = 0; d < DIMENSION; d++) {
                    output.putFloat(d * 4, embedding[d]);
                }
            }

            @Override
            public void close() {}
        });
    }

    static Embedder broken() throws IOException {
        return new Embedder(bundle(), new Engine() {
            @Override
            public void run(ByteBuffer input, ByteBuffer output) {
                throw new IllegalStateException("the model does not run");
            }

            @Override
            public void close() {}
        });
    }

    static final byte[] MODEL_FILE = "a model".getBytes(StandardCharsets.UTF_8);

    /** The bundle's description; tests change parts of it. */
    static String json() {
        String hash = "\"file\":\"%s\",\"size_bytes\":%d,\"sha256\":\"%s\"";
        byte[] pixels = new byte[2 * SIDE * SIDE * 3];
        byte[] rows = new byte[2 * DIMENSION * 4];
        return "{\"schema_version\":1,\"name\":\"test\",\"embedding_size\":" + DIMENSION + ",\"normalisation\":\"l2\","
            + "\"preprocessing\":{\"input_size\":4,\"resize_size\":5,\"resize_rule\":\"pillow_bilinear\",\"crop\":\"center\","
            + "\"colour_order\":\"RGB\",\"mean\":[128.0,128.0,128.0],\"std\":[128.0,128.0,128.0]},"
            + "\"variants\":[{\"name\":\"tflite-int8\",\"format\":\"tflite\","
            + String.format(hash, "tflite-int8.tflite", MODEL_FILE.length, Sha256.of(MODEL_FILE))
            + ",\"input\":{\"name\":\"in\",\"shape\":[1,4,4,3],\"layout\":\"NHWC\",\"dtype\":\"int8\",\"scale\":0.0078125,"
            + "\"zero_point\":0},\"output\":{\"name\":\"out\",\"shape\":[1," + DIMENSION + "],\"dtype\":\"float32\","
            + "\"scale\":null,\"zero_point\":null,\"unit_norm\":true,\"renormalise\":false}}],"
            + "\"golden\":{\"count\":2,\"keys\":[\"a\",\"b\"],\"pixels\":{"
            + String.format(hash, "golden/pixels.u8", pixels.length, Sha256.of(pixels)) + "},\"expected\":{\"pytorch\":{"
            + String.format(hash, "golden/pytorch.f32", rows.length, Sha256.of(rows)) + ",\"min_cosine\":0.9},\"tflite-int8\":{"
            + String.format(hash, "golden/tflite-int8.f32", rows.length, Sha256.of(rows)) + ",\"min_cosine\":0.9}},"
            + "\"files\":[]},\"provenance\":{\"created\":\"2026\",\"tool\":\"t\",\"source\":{\"id\":\"abc\",\"sha256\":\""
            + Sha256.of(rows) + "\",\"kind\":\"student\",\"arch\":\"m\",\"space\":null},\"licence\":{\"model\":\"\",\"data\":\"CC0\"}}}";
    }

    static BundleSource source(final String json) {
        return new BundleSource() {
            @Override
            public ByteBuffer read(String name) throws IOException {
                switch (name) {
                    case "bundle.json": return ByteBuffer.wrap(json.getBytes(StandardCharsets.UTF_8));
                    case "tflite-int8.tflite": return ByteBuffer.wrap(MODEL_FILE);
                    case "golden/pixels.u8": return ByteBuffer.allocate(2 * SIDE * SIDE * 3);
                    default: return ByteBuffer.allocate(2 * DIMENSION * 4);
                }
            }
        };
    }

    static Bundle bundle() throws IOException {
        return Bundle.open(source(json()), null);
    }
}
