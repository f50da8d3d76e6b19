package org.distilltophone.app;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import org.distilltophone.core.Bundle;
import org.distilltophone.core.GoldenFile;
import org.distilltophone.core.ImageFileDecoder;
import org.distilltophone.core.Sha256;
import org.distilltophone.core.UndecodableException;
import org.distilltophone.decoder.BitmapDecoder;
import org.distilltophone.decoder.BitmapImage;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.annotation.Config;
import org.robolectric.annotation.GraphicsMode;

/** Android's decoder, built for computers, against the golden files of the bundle. */
@RunWith(RobolectricTestRunner.class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
@Config(sdk = 35)
public class SharedImageTest {
    @Test
    public void golden_files_give_the_pixels_of_python() throws Exception {
        Fixture.load();
        Bundle bundle = AppModel.bundle(RuntimeEnvironment.getApplication());
        byte[][] golden = bundle.goldenPixels();
        int turned = 0;
        for (GoldenFile one : bundle.goldenFiles()) {
            ByteBuffer content = bundle.read(one.file);
            byte[] file = new byte[content.remaining()];
            content.get(file);
            for (BitmapImage image : new BitmapImage[] {
                BitmapImage.decode(file, Long.MAX_VALUE), BitmapImage.decodeOld(file)}) {
                byte[] pixels = bundle.preprocessing().pixels(image, image.orientation());
                if (one.lossless()) {
                    assertEquals(one.file, one.pixelsSha256, Sha256.of(pixels));
                } else {
                    turned++;
                    assertTrue(one.file, difference(pixels, golden[one.row]) <= 1);
                }
            }
        }
        assertTrue("one of the golden files lies on its side", turned > 0);
    }

    @Test
    public void every_kind_of_image_gives_the_pixels_of_python() throws Exception {
        File[] files = Fixture.load().kinds().listFiles((folder, name) -> !name.endsWith(".pixels"));
        Bundle bundle = AppModel.bundle(RuntimeEnvironment.getApplication());
        StringBuilder wrong = new StringBuilder();
        for (File file : files) {
            byte[] expected = Files.readAllBytes(new File(file + ".pixels").toPath());
            byte[] content = Files.readAllBytes(file.toPath());
            try (ImageFileDecoder.Decoded image = new BitmapDecoder().decode(content)) {
                double apart = difference(bundle.preprocessing().pixels(image, image.orientation()), expected);
                boolean near = file.getName().endsWith(".jpg") && apart <= 1;
                if (apart != 0 && !near) {
                    wrong.append(file.getName()).append(' ').append(apart).append("; ");
                }
            } catch (UndecodableException refused) {
                wrong.append(file.getName()).append(' ').append(refused.getMessage()).append("; ");
            }
        }
        assertEquals("", wrong.toString());
        assertTrue(files.length > 12);
    }

    /** Returns the mean difference in levels. */
    private static double difference(byte[] a, byte[] b) {
        long sum = 0;
        for (int i = 0; i < a.length; i++) {
            sum += Math.abs((a[i] & 255) - (b[i] & 255));
        }
        return (double) sum / a.length;
    }

    @Test
    public void what_is_not_an_image_is_refused() throws Exception {
        for (byte[] bad : new byte[][] {{}, {1, 2, 3}, "GIF89a".getBytes(), {(byte) 0x89, 'P', 'N', 'G', 13, 10, 26, 10}}) {
            assertThrows(UndecodableException.class, () -> SharedImage.decode(RuntimeEnvironment.getApplication(), bad));
        }
    }

    @Test
    public void the_preview_stands_upright() throws Exception {
        byte[] png = png(8, 2);
        SharedImage read = SharedImage.decode(RuntimeEnvironment.getApplication(), png);
        assertEquals(8, read.width());
        int[] row = new int[8];
        read.read(0, 1, 8, 1, row);
        assertArrayEquals(new int[] {0x80FF0000, 0x80FF0000, 0x80FF0000, 0x80FF0000, 0x80FF0000, 0x80FF0000, 0x80FF0000,
            0x80FF0000}, row);
        assertEquals(4, read.preview(4).getWidth());
        assertEquals(1, read.preview(4).getHeight());
    }

    /** Encodes an image of half transparent red. */
    private static byte[] png(int width, int height) {
        android.graphics.Bitmap bitmap = android.graphics.Bitmap.createBitmap(width, height, android.graphics.Bitmap.Config.ARGB_8888);
        bitmap.eraseColor(0x80FF0000);
        java.io.ByteArrayOutputStream out = new java.io.ByteArrayOutputStream();
        bitmap.compress(android.graphics.Bitmap.CompressFormat.PNG, 100, out);
        return out.toByteArray();
    }
}
