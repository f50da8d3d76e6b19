package org.distilltophone.jvm;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;

import java.util.Random;
import org.distilltophone.core.Preprocessing;
import org.junit.Test;

/** Preprocessing of images in memory: orientation and crop. */
public class ArgbImageTest {
    private static Preprocessing of(int input, int resize) {
        return new Preprocessing(input, resize, new double[] {128, 128, 128}, new double[] {128, 128, 128});
    }

    private static ArgbImage noise(int width, int height, long seed) {
        Random random = new Random(seed);
        int[] argb = new int[width * height];
        for (int i = 0; i < argb.length; i++) {
            argb[i] = 0xFF000000 | random.nextInt(1 << 24);
        }
        return new ArgbImage(argb, width, height);
    }

    @Test
    public void preprocessingReadsSidewaysImagesUpright() {
        int[][] sizes = {{37, 21}, {21, 37}, {16, 16}, {1, 40}, {100, 3}};
        for (int[] size : sizes) {
            ArgbImage image = noise(size[0], size[1], 3);
            for (int orientation = 0; orientation <= 9; orientation++) {
                byte[] expected = of(8, 9).pixels(image.upright(orientation), 1);
                assertArrayEquals("orientation " + orientation, expected, of(8, 9).pixels(image, orientation));
            }
        }
    }

    @Test
    public void orientationsOfEveryKind() {
        // The values of the upright image, read row by row, for the stored image 1 2 3 / 4 5 6.
        int[][] upright = {
            {1, 2, 3, 4, 5, 6}, {3, 2, 1, 6, 5, 4}, {6, 5, 4, 3, 2, 1}, {4, 5, 6, 1, 2, 3},
            {1, 4, 2, 5, 3, 6}, {4, 1, 5, 2, 6, 3}, {6, 3, 5, 2, 4, 1}, {3, 6, 2, 5, 1, 4},
        };
        for (int orientation = 1; orientation <= 8; orientation++) {
            ArgbImage found = new ArgbImage(new int[] {1, 2, 3, 4, 5, 6}, 3, 2).upright(orientation);
            assertArrayEquals("orientation " + orientation, upright[orientation - 1], found.argb);
            assertEquals(orientation < 5 ? 3 : 2, found.width());
        }
    }

    @Test
    public void anImageOfTheRightSizeIsOnlyCropped() {
        ArgbImage image = noise(10, 8, 5);
        byte[] pixels = of(8, 8).pixels(image, 1);
        for (int y = 0, at = 0; y < 8; y++) {
            for (int x = 0; x < 8; x++) {
                int value = image.argb[y * 10 + x + 1];
                assertEquals((byte) (value >> 16), pixels[at++]);
                assertEquals((byte) (value >> 8), pixels[at++]);
                assertEquals((byte) value, pixels[at++]);
            }
        }
    }

    @Test(expected = IllegalArgumentException.class)
    public void aSizeThatDoesNotFitIsRefused() {
        new ArgbImage(new int[10], 2, 2);
    }
}
