package org.distilltophone.runner;

import com.eclipsesource.json.JsonArray;
import com.eclipsesource.json.JsonObject;
import java.io.IOException;
import java.nio.ByteBuffer;
import org.distilltophone.core.PictureDecoder;
import org.distilltophone.core.Preprocessing;
import org.distilltophone.core.UndecodableException;

/**
 * Encoded pictures to the pixels of the model, each step timed: what benchmark/devices/images.py does on devices with a
 * Python.
 */
final class Pictures {
    /** Uint8 RGB of the model's size, one picture after another. */
    final byte[] pixels;
    final int count;
    /** Milliseconds of each: decoding, and the rest (turning, resize, crop). */
    final float[][] millis;

    private Pictures(byte[] pixels, float[][] millis) {
        this.pixels = pixels;
        this.count = millis.length;
        this.millis = millis;
    }

    /** A picture that cannot be decoded here; {@link #number} counts from 0. */
    static final class Undecodable extends Exception {
        private static final long serialVersionUID = 1;

        final int number;

        Undecodable(int number, String why) {
            super(why);
            this.number = number;
        }
    }

    /**
     * Decodes and preprocesses them.
     *
     * @param content the files, one behind the other
     * @param sizes bytes of each; a job's "sizes"
     * @param rule a job's "preprocessing"
     * @throws IOException sizes that are not those of the content, a rule that is not known here, no memory
     */
    static Pictures read(ByteBuffer content, JsonArray sizes, JsonObject rule, PictureDecoder decoder)
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
                throw new IOException("pictures of other sizes than announced");
            }
            byte[] file = new byte[size];
            files.get(file);
            long begun = System.nanoTime();
            try (PictureDecoder.Decoded picture = decoder.decode(file)) {
                long decoded = System.nanoTime();
                byte[] one = preprocessing.pixels(picture, picture.orientation());
                long done = System.nanoTime();
                millis[i] = new float[] {(decoded - begun) / 1e6f, (done - decoded) / 1e6f};
                System.arraycopy(one, 0, pixels, i * each, each);
            } catch (UndecodableException | RuntimeException bad) { // a hostile file can make a decoder throw anything
                throw new Undecodable(i, Variants.reason(bad));
            }
        }
        if (files.hasRemaining() || sizes.isEmpty()) {
            throw new IOException("pictures of other sizes than announced");
        }
        return new Pictures(pixels, millis);
    }
}
