package org.distilltophone.runner;

import com.eclipsesource.json.JsonArray;
import com.eclipsesource.json.JsonObject;
import java.io.IOException;
import java.nio.ByteBuffer;
import org.distilltophone.core.ImageFileDecoder;
import org.distilltophone.core.Preprocessing;
import org.distilltophone.core.UndecodableException;

/**
 * Decodes and preprocesses encoded images, and times each step, as benchmark/devices/images.py does on devices with
 * Python.
 */
final class EncodedImages {
    /** Uint8 RGB of the model's input size, one image after another. */
    final byte[] pixels;
    final int count;
    /** Milliseconds of each image: decoding, and preprocessing (rotation, resize, crop). */
    final float[][] millis;

    private EncodedImages(byte[] pixels, float[][] millis) {
        this.pixels = pixels;
        this.count = millis.length;
        this.millis = millis;
    }

    /** An image cannot be decoded; {@link #number} counts from 0. */
    static final class Undecodable extends Exception {
        private static final long serialVersionUID = 1;

        final int number;

        Undecodable(int number, String why) {
            super(why);
            this.number = number;
        }
    }

    /**
     * Decodes and preprocesses images.
     *
     * @param content the encoded files, one after another
     * @param sizes size of each file in bytes, from the job's "sizes"
     * @param rule the job's "preprocessing"
     * @throws IOException the sizes do not match the content, a rule is unknown, or memory is exhausted
     */
    static EncodedImages read(ByteBuffer content, JsonArray sizes, JsonObject rule, ImageFileDecoder decoder)
            throws IOException, Undecodable {
        Preprocessing preprocessing = Preprocessing.parse(rule.toString());
        int side = preprocessing.inputSize;
        int each = side * side * 3;
        byte[] pixels = new byte[Math.multiplyExact(sizes.size(), each)];
        float[][] millis = new float[sizes.size()][];
        ByteBuffer files = content.duplicate();
        for (int i = 0; i < sizes.size(); i++) {
            int size = sizes.get(i).asInt();
            if (size < 1 || size > files.remaining()) {
                throw new IOException("the sizes of the images do not match their content");
            }
            byte[] file = new byte[size];
            files.get(file);
            long begun = System.nanoTime();
            try (ImageFileDecoder.Decoded image = decoder.decode(file)) {
                long decoded = System.nanoTime();
                byte[] one = preprocessing.pixels(image, image.orientation());
                long done = System.nanoTime();
                millis[i] = new float[] {(decoded - begun) / 1e6f, (done - decoded) / 1e6f};
                System.arraycopy(one, 0, pixels, i * each, each);
            } catch (UndecodableException | RuntimeException bad) { // a hostile file can make a decoder throw anything
                throw new Undecodable(i, Variants.reason(bad));
            }
        }
        if (files.hasRemaining() || sizes.isEmpty()) {
            throw new IOException("the sizes of the images do not match their content");
        }
        return new EncodedImages(pixels, millis);
    }
}
